//! Statuses that count as success.

use traaviis_model::{EffectError, Value};

use super::failing::invalid;

/// Statuses that count as success.
#[derive(Clone, Debug)]
pub(crate) struct Expect(Vec<std::ops::RangeInclusive<u16>>);

impl Expect {
    /// Any 2xx.
    pub(crate) fn success() -> Expect {
        Expect(vec![200..=299])
    }

    /// Any status, for who reads refusals, too.
    pub(crate) fn any() -> Expect {
        Expect(vec![100..=599])
    }

    pub(crate) fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|it| it.contains(&status))
    }

    /// Reads `2xx`, `200`, or a list of such.
    pub(super) fn read(value: Option<&Value>) -> Result<Expect, EffectError> {
        let one = std::slice::from_ref(match value {
            None | Some(Value::Null) => return Ok(Expect::success()),
            Some(value) => value,
        });
        let items = value.and_then(Value::as_list).unwrap_or(one);
        let ranges = items.iter().map(|item| {
            let text = item.as_str().map_or_else(|| item.to_json(), str::to_owned);
            let status = match text.to_ascii_lowercase().strip_suffix("xx") {
                Some(class) => class.parse::<u16>().ok().map(|it| it.saturating_mul(100)),
                None => text.parse::<u16>().ok(),
            };
            match status {
                Some(status @ 100..=599) if text.len() == 3 => {
                    let wide = text.to_ascii_lowercase().ends_with("xx");
                    Ok(status..=if wide { status + 99 } else { status })
                }
                _ => Err(invalid(format!("`{text}` in `expect` is no status such as 200 or 2xx"))),
            }
        });
        Ok(Expect(ranges.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expect_reads_classes_and_statuses() {
        let read = |json: &str| Expect::read(Some(&serde_json::from_str(json).unwrap()));
        let expect = read(r#"["2xx", 404, "301"]"#).unwrap();
        for (status, accepts) in [(200, true), (299, true), (404, true), (301, true), (302, false)]
        {
            assert_eq!(expect.accepts(status), accepts, "{status}");
        }
        assert!(read("\"3XX\"").unwrap().accepts(399));
        for json in ["\"xx\"", "\"9xx\"", "[20]", "[99999]", "true", "{}"] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
