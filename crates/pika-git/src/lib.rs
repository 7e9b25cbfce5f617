//! pika-git.
