//! pikaci-engine.
