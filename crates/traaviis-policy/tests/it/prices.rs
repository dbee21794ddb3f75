//! The page of prices is what the price book says.

use std::fmt::Write as _;

use expect_test::expect_file;
use traaviis_policy::{
    invoice::{PRICES, decimal},
    plan::{Metric, Plan},
};

#[test]
fn the_page_of_prices_is_what_invoices_are_made_with() {
    let mut page = format!(
        "# Price book\n\nMade by a test from what invoices are made with; `UPDATE_EXPECT=1 cargo \
         test prices` writes it anew.\nVersion {}, in {} without tax.\nQuantities are those of a \
         month of the tenant, members and storage (bytes) at any time; `hard` is where nothing \
         more is taken in.\nPrices are conditions of a release and no commitment.\n\n",
        PRICES.version, PRICES.currency
    );
    page += "| Plan | Metric | In the plan | Hard | Beyond it |\n|---|---|---|---|---|\n";
    for plan in Plan::ALL {
        let price = decimal(PRICES.monthly(*plan));
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{}` | a month | {price} | | |", plan.as_str());
        for metric in Metric::ALL {
            let quota = plan.quota(*metric);
            let Some(included) = quota.included else { continue };
            let hard = quota.hard.map_or(String::new(), |it| it.to_string());
            let beyond = PRICES
                .beyond(*plan, *metric)
                .map_or(String::new(), |it| format!("{} for {}", decimal(it.micros), it.per));
            let (plan, metric) = (plan.as_str(), metric.as_str());
            let _ = writeln!(page, "| `{plan}` | `{metric}` | {included} | {hard} | {beyond} |");
        }
    }
    expect_file!["../../../../docs/reference/price-book.md"].assert_eq(&page);
}
