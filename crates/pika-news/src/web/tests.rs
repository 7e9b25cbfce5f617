//! The router with a real store, real git and runs that a real writer left.

mod access;
mod clients;
mod contract;
mod events;
mod fixture;
mod health;
mod hostile;
mod identity;
mod matrix;
mod mirror;
mod nightlies;
mod oidc;
mod records;
mod resources;
mod schemathesis;
mod secrets;
mod stream;
mod tutorial;
mod webhooks;
