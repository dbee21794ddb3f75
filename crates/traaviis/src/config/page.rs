//! The page of the reference about settings, as a test writes it.

use std::fmt::Write as _;

use super::keys::{KEYS, Key, Kind, PREFIX};

/// Returns the variable that is made of the name of a setting.
pub(super) fn made_variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.to_uppercase().replace('.', "__"))
}

/// Returns the page of the reference.
pub(super) fn page() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for key in KEYS {
        let code = |it: &str| format!("`{it}`");
        let mut default = key.default.map_or("-".to_owned(), code);
        if let Some(production) = key.production {
            let _ = write!(default, "; `{production}` in production");
        }
        let mut variable = code(&made_variable(key));
        if let Some(other) = key.variable {
            let _ = write!(variable, ", `{other}`");
        }
        let what = match key.kind {
            Kind::Word(words) => {
                let words: Vec<String> = words.iter().map(|it| code(it)).collect();
                format!("{} One of {}.", key.what, words.join(", "))
            }
            _ => key.what.to_owned(),
        };
        let _ = writeln!(page, "| `{}` | {default} | {variable} | {what} |", key.name);
    }
    page
}

const PAGE_HEAD: &str = "\
# Settings of a server

This page is written by a test from the table of settings:
`UPDATE_EXPECT=1 cargo test config` writes it anew.

`traaviis serve` and `traaviis dev` take each setting from the first place that has it:

1. flags of the command line;
2. variables of the environment;
3. the file of settings: `--config FILE`, or the one that `TRAAVIIS_CONFIG` names, or
   `traaviis.toml` in the working directory if it is there;
4. the defaults of the profile.

`traaviis serve --print-config` shows each setting with the place it comes from, secrets masked, \
and starts nothing.
`traaviis schema config` prints a JSON schema for editors.
A setting that is not in this table stops the start with its place.

```toml
profile = \"production\"

[http]
base_url = \"https://flows.example.org\"

[auth]
access_ttl = \"10m\"
```

## Profiles

| | without one | `dev` | `production` |
|---|---|---|---|
| Listens on | 127.0.0.1:4000 | 127.0.0.1:4000 | 0.0.0.0:8080 |
| Attempts to log in a minute, of an account and from an address | 10 and 60 | 600 | 10 and 60 |
| Refuses an absent `http.base_url`, or one that begins with `http://`, unless it is of this \
machine or `http.trust_proxy` names a proxy | no | no | yes |
| Refuses known words in `http.metrics_token`, root keys that nobody made by chance, mail into \
a folder | no | no | yes |

`traaviis dev` has the profile `dev`; `traaviis serve` has the one that is named.

## All settings

A variable is the name in capitals behind `TRAAVIIS_`, with two underscores for the dot; \
lists have commas between their items.

| Key | Default | Variable | What it does |
|---|---|---|---|
";
