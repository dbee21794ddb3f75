//! What the engine is asked. It is pure, so a defect in it has touched nothing: it concerns the one
//! instance that met it, and whoever asked is told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use traaviis_engine::Rejection;
use traaviis_model::Value;

/// Asks the engine; a panic is a refusal.
pub(super) fn ask<T>(ask: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    // What it may have left half done is its own, and gone with it.
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        let message = "the engine has met a defect of this program; nothing was done";
        let details = Value::Null;
        Err(Rejection { code: "internal", message: message.into(), details })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_refusal() {
        assert_eq!(ask(|| Ok(7)).unwrap(), 7);
        let met = ask::<()>(|| panic!("as planned")).unwrap_err();
        assert_eq!(met.code, "internal");
    }
}
