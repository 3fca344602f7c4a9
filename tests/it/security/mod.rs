//! Who may do what, tried as an attacker would.

mod audit;
mod bundles;
mod command;
mod keys;
mod milvus;
mod provider;
mod roles;
mod secrets;
mod table;
mod tenants;
pub mod tls;
mod tokens;
pub mod who;
