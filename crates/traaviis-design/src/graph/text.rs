//! How much room words take, and where long ones break.
//!
//! Widths are those of DejaVu Sans, one of the widest common fonts: what fits with it fits with
//! whatever a viewer uses instead.

/// Units of the table in one em.
const EM: f64 = 2048.0;
/// Width of each character from space to `~`.
const WIDTHS: [u16; 95] = [
    651, 821, 942, 1716, 1303, 1946, 1597, 563, 799, 799, 1024, 1716, 651, 739, 651, 690, 1303,
    1303, 1303, 1303, 1303, 1303, 1303, 1303, 1303, 1303, 690, 690, 1716, 1716, 1716, 1087, 2048,
    1401, 1405, 1430, 1577, 1294, 1178, 1587, 1540, 604, 604, 1343, 1141, 1767, 1532, 1612, 1235,
    1612, 1423, 1300, 1251, 1499, 1401, 2025, 1403, 1251, 1403, 799, 690, 799, 1716, 1024, 1024,
    1255, 1300, 1126, 1300, 1260, 721, 1300, 1298, 569, 569, 1186, 569, 1995, 1298, 1253, 1300,
    1300, 842, 1067, 803, 1298, 1212, 1675, 1212, 1212, 1075, 1303, 690, 1303, 1716,
];

/// Returns the width of text in points.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let units: f64 = text.chars().map(units).sum();
    units * size / EM
}

fn units(c: char) -> f64 {
    match c {
        ' '..='~' => f64::from(WIDTHS[c as usize - ' ' as usize]),
        // Latin, Greek and Cyrillic; few of them are wider.
        '\u{a0}'..='\u{52f}' => 0.75 * EM,
        _ => EM,
    }
}

/// Breaks text into lines of at most `chars_max` characters, at spaces where there are some, and
/// cuts what needs more than `lines_max`.
pub(super) fn wrap(text: &str, chars_max: usize, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > chars_max {
            lines.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while word.len() > chars_max {
            // After punctuation if that is not too far back: `data.order.` then `items`.
            let cut = (chars_max / 2..chars_max)
                .rev()
                .find(|at| ".,(/_-".contains(word[*at - 1]))
                .unwrap_or(chars_max);
            lines.push(word.drain(..cut).collect());
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_break_at_spaces_then_after_punctuation() {
        assert_eq!(wrap("data.a > 3 && data.b", 10, 9), ["data.a > 3", "&& data.b"]);
        assert_eq!(wrap("data.order.items.all", 12, 9), ["data.order.", "items.all"]);
        assert_eq!(wrap("aaaaaaaaaaaa", 5, 9), ["aaaaa", "aaaaa", "aa"]);
        assert_eq!(wrap("a b c", 1, 2), ["a", "b…"]);
        assert!(wrap(" ", 5, 2).is_empty());
    }

    #[test]
    fn wide_characters_take_more_room() {
        assert!(width("iii", 10.0) < width("mmm", 10.0));
        assert_eq!(width("語", 10.0), 10.0);
    }
}
