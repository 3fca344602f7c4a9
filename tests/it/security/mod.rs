//! Who may do what, tried as an attacker would.

mod across;
mod audit;
mod audit_subjects;
mod bundles;
mod chosen_ids;
mod command;
mod keys;
mod milvus;
mod monitoring;
mod pages;
mod provider;
mod roles;
mod secrets;
mod table;
mod tenants;
pub mod tls;
mod tokens;
pub mod who;
