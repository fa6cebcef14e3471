//! What tests of several rooms start for themselves. No part of the product: whatever ships may look at it in its own tests only.

pub mod postgres_server;
