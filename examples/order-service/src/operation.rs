//! The six operations: their names, what they take and what they give.

use std::fmt;

use serde_json::{Value, json};

/// Something the shop can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Sets goods aside.
    Reserve,
    /// Puts them back.
    Release,
    /// Takes money.
    Charge,
    /// Gives it back.
    Refund,
    /// Orders a carrier.
    Book,
    /// Sends the carrier away.
    CancelShipment,
}

use Operation::*;

/// A refusal: status, stable code, text.
pub(crate) type Refusal = (u16, &'static str, String);

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 6] = [Reserve, Release, Charge, Refund, Book, CancelShipment];

    /// Returns the name, as workflows and flags say it.
    pub fn name(self) -> &'static str {
        match self {
            Reserve => "inventory.reserve",
            Release => "inventory.release",
            Charge => "payment.charge",
            Refund => "payment.refund",
            Book => "shipping.book",
            CancelShipment => "shipping.cancel",
        }
    }

    /// Returns the path that takes it.
    pub fn path(self) -> &'static str {
        match self {
            Reserve => "/inventory/reservations",
            Release => "/inventory/release",
            Charge => "/payments",
            Refund => "/refunds",
            Book => "/shipments",
            CancelShipment => "/shipments/cancel",
        }
    }

    /// Returns the operations that a name means: one, or a group such as `shipping`.
    pub fn named(name: &str) -> Option<Vec<Operation>> {
        let found: Vec<Operation> = Operation::ALL
            .into_iter()
            .filter(|it| {
                it.name() == name
                    || it.name().split_once('.').is_some_and(|(group, _)| group == name)
            })
            .collect();
        (!found.is_empty()).then_some(found)
    }

    /// Returns what the operation answers when it is told to fail: a refusal for good.
    pub(crate) fn refusal(self) -> Refusal {
        let (status, code) = match self {
            Reserve => (409, "out_of_stock"),
            Charge => (402, "card_declined"),
            Book => (422, "address_refused"),
            Release | Refund | CancelShipment => (422, "refused"),
        };
        (status, code, format!("{self} was told to fail"))
    }

    /// Checks a request, or says why not.
    pub(crate) fn check(self, body: &Value) -> Result<(), Refusal> {
        let invalid = |message: &str| Err((422, "invalid_request", format!("{self}: {message}")));
        let text = |key: &str| body[key].as_str().is_some_and(|it| !it.is_empty());
        match self {
            Reserve if !text("sku") => invalid("`sku` is missing"),
            Reserve if body["qty"].as_i64().is_none_or(|it| it < 1) => {
                invalid("`qty` is not a whole number from 1")
            }
            Release if !text("reservation_id") => invalid("`reservation_id` is missing"),
            Charge if body["amount"].as_f64().is_none_or(|it| it <= 0.0) => {
                invalid("`amount` is not a number above 0")
            }
            Charge if !text("card") => invalid("`card` is missing"),
            Charge if body["card"] == "card_declined" => {
                Err((402, "card_declined", "the bank declined the card".to_owned()))
            }
            Refund if !text("charge_id") => invalid("`charge_id` is missing"),
            Book if !text("order") => invalid("`order` is missing"),
            Book if !body["address"].is_object() => invalid("`address` is not an object"),
            CancelShipment if !text("tracking") => invalid("`tracking` is missing"),
            _ => Ok(()),
        }
    }

    /// Returns the response of the `number`th execution of this operation.
    pub(crate) fn response(self, number: u64) -> Value {
        match self {
            Reserve => json!({ "reservation_id": format!("res-{number:06}") }),
            Charge => json!({ "charge_id": format!("ch-{number:06}") }),
            Refund => json!({ "refund_id": format!("re-{number:06}") }),
            Book => json!({ "tracking": format!("trk-{number:06}") }),
            Release | CancelShipment => json!({ "ok": true }),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
