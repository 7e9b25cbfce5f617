//! The guest runner.
