//! Tests over the development data.

mod measure;
mod prices;
