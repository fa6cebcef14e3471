//! What runs in the engine: operators, and the tables and expressions that they are made of.
pub mod expression;
pub mod source;
pub mod table;
