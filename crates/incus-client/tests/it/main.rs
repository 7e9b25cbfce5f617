//! The client against a fake server that misbehaves, and against a real one.

mod answers;
mod cluster;
mod connections;
mod daemon;
mod daemon_instances;
mod fake;
mod https;
mod operations;
mod streams;
mod world;
