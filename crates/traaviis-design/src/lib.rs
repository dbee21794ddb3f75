//! Documents as people and other programs see them: conversions from and to the workflow language,
//! pictures, and the canonical layout.
//!
//! Pure: text in, text out. Nothing is converted silently to something else: a conversion comes
//! with its [`Loss`] report, and formatting is refused where it would change a document.

pub mod codegen;
pub mod format;
pub mod graph;
pub mod loss;
pub mod scxml;
pub mod test_case;
pub mod tree;

pub use loss::Loss;
