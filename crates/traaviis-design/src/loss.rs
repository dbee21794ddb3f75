//! What a conversion could not carry over.

use std::fmt;

use serde::Serialize;

/// A place in the source, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What it is, such as `<foreach>`.
    pub element: String,
    /// What happened to it, and why.
    pub message: String,
}

/// What was kept, changed and left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Elements that mean the same as before.
    pub kept: usize,
    /// What means nearly the same.
    pub approximated: Vec<Place>,
    /// What is gone.
    pub dropped: Vec<Place>,
}

impl Loss {
    /// Says whether the result means the same as the source.
    pub fn is_none(&self) -> bool {
        self.approximated.is_empty() && self.dropped.is_empty()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { kept, approximated, dropped } = self;
        let counts = (approximated.len(), dropped.len());
        writeln!(f, "{kept} elements kept, {} approximated, {} dropped", counts.0, counts.1)?;
        let of = |word, places: &[Place]| -> Vec<(&'static str, Place)> {
            places.iter().map(|it| (word, it.clone())).collect()
        };
        for (word, it) in [of("approximated", approximated), of("dropped", dropped)].concat() {
            writeln!(f, "{}:{}: {} {word}: {}", it.line, it.column, it.element, it.message)?;
        }
        Ok(())
    }
}
