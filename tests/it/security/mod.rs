//! Who may do what, tried as an attacker would.

mod audit;
mod command;
mod keys;
mod provider;
mod roles;
mod secrets;
mod table;
mod tenants;
mod tls;
mod tokens;
mod who;
