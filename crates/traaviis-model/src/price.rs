//! What models charge for tokens: a table with its sources and their dates, in `price/prices.json`.
//!
//! The table is part of the release, so the same document reserves the same in every process. A
//! model that it does not know has no price; who asks decides what that means.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::budget::micros;

/// Providers whose models run on machines of one's own, or answer from fixtures.
const FREE: &[&str] = &["builtin", "local", "mock"];

/// The price of a model, in millionths of a US dollar for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// For tokens that it reads.
    pub input: u64,
    /// For tokens that it writes.
    pub output: u64,
}

impl Price {
    /// Returns what these tokens cost, in millionths of a US dollar, rounded up.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let cost = u128::from(self.input) * u128::from(input_tokens)
            + u128::from(self.output) * u128::from(output_tokens);
        u64::try_from(cost.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// Returns the higher of both prices, each for itself.
    pub fn or_higher(self, other: Price) -> Price {
        Price { input: self.input.max(other.input), output: self.output.max(other.output) }
    }
}

#[derive(Deserialize)]
struct Listed {
    provider: String,
    model: String,
    input: String,
    output: String,
}

#[derive(Deserialize)]
struct Table {
    models: Vec<Listed>,
}

struct Row {
    provider: String,
    model: String,
    price: Price,
}

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    // A test reads the same file, so what stands in it can be read.
    let table: Option<Table> = serde_json::from_str(include_str!("price/prices.json")).ok();
    let row = |it: Listed| {
        let price = Price { input: micros(&it.input)?, output: micros(&it.output)? };
        Some(Row { provider: it.provider, model: it.model, price })
    };
    table.map_or_else(Vec::new, |it| it.models.into_iter().filter_map(row).collect())
});

/// Returns the price of a model; none when the table does not know it. A dated version such as
/// `gpt-4o-2024-08-06` costs what its model costs.
pub fn price_of(provider: Option<&str>, model: &str) -> Option<Price> {
    if provider.is_some_and(|it| FREE.contains(&it)) {
        return Some(Price::default());
    }
    let fits = |it: &&Row| {
        provider.is_none_or(|provider| it.provider == provider)
            && model.strip_prefix(&*it.model).is_some_and(is_version)
    };
    TABLE.iter().filter(fits).max_by_key(|it| it.model.len()).map(|it| it.price)
}

/// Says whether this may follow the name of a model: nothing, a date, or `latest`.
fn is_version(rest: &str) -> bool {
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    let is_date = digits == 8 && rest.bytes().all(|it| it.is_ascii_digit() || it == b'-');
    rest.is_empty() || rest == "-latest" || rest.starts_with('-') && is_date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_says_where_it_comes_from() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("price/prices.json")).unwrap();
        let rows = file["models"].as_array().unwrap();
        assert_eq!(TABLE.len(), rows.len(), "a price cannot be read");
        let names: Vec<(&str, &str)> = TABLE.iter().map(|it| (&*it.provider, &*it.model)).collect();
        assert!(names.is_sorted() && names.windows(2).all(|it| it[0] != it[1]));
        let sources = file["sources"].as_array().unwrap();
        for row in TABLE.iter() {
            let source = sources.iter().find(|it| it["provider"] == *row.provider).unwrap();
            assert!(source["page"].as_str().unwrap().starts_with("https://"));
            let date = source["date"].as_str().unwrap();
            assert!(date.len() == 10 && date.starts_with("20"), "{date}");
            assert!(row.price.input > 0, "{}", row.model);
        }
    }

    #[test]
    fn versions_cost_what_their_model_costs() {
        let of = |provider, model| price_of(provider, model).map(|it| (it.input, it.output));
        let mini = Some((150_000, 600_000));
        assert_eq!(of(Some("openai"), "gpt-4o-mini"), mini);
        assert_eq!(of(None, "gpt-4o-mini-2024-07-18"), mini);
        assert_eq!(of(None, "claude-3-5-haiku-latest"), Some((800_000, 4_000_000)));
        assert_eq!(of(None, "claude-sonnet-4-20250514"), Some((3_000_000, 15_000_000)));
        assert_eq!(of(None, "gpt-4o-audio-preview"), None);
        assert_eq!(of(None, "claude-opus-4-9"), None);
        assert_eq!(of(Some("anthropic"), "gpt-4o"), None);
        assert_eq!(of(Some("local"), "anything"), Some((0, 0)));
        assert_eq!(of(None, ""), None);
    }

    #[test]
    fn cost_is_rounded_up_and_never_overflows() {
        let price = Price { input: 2_500_000, output: 10_000_000 };
        assert_eq!(price.cost(1_000, 100), 3_500);
        assert_eq!(price.cost(1, 0), 3);
        assert_eq!(price.cost(u64::MAX, u64::MAX), u64::MAX);
    }
}
