//! Documents as others write and draw them: conversions from and to the workflow language.
//!
//! Pure: text in, text and a [`Loss`] report out, or a picture. Nothing is converted silently to
//! something else.

pub mod graph;
pub mod loss;
pub mod scxml;
pub mod tree;

pub use loss::Loss;
