//! Checks that tell a number from one that only looks like it.

use sha2::{Digest, Sha256};

/// Says whether digits pass the check of Luhn.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            match (at % 2, digit * 2) {
                (0, _) => digit,
                (_, doubled) if doubled > 9 => doubled - 9,
                (_, doubled) => doubled,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// How certainly a number belongs to a network of payment cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    /// Length and prefix are those of one network.
    Certain,
    /// Only the check digit fits, as of one number in ten by chance; words around it must tell.
    Doubtful,
}

/// Says whether digits can be the number of a payment card.
pub(super) fn card(digits: &[u8]) -> Option<Card> {
    if !(12..=19).contains(&digits.len()) || !luhn(digits) {
        return None;
    }
    let prefix =
        |count: usize| digits[..count].iter().fold(0, |n, it| n * 10 + u32::from(it - b'0'));
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    let count = digits.len();
    match (two, three, four) {
        (40..=49, _, _) if count == 16 || count == 19 => Some(Card::Certain),
        (40..=49, _, _) if count == 13 => Some(Card::Doubtful),
        (51..=55, _, _) | (_, _, 2221..=2720) if count == 16 => Some(Card::Certain),
        (34 | 37, _, _) if count == 15 => Some(Card::Certain),
        (_, _, 3528..=3589) | (65 | 62, _, _) | (_, 644..=649, _) | (_, _, 6011) if count >= 16 => {
            Some(Card::Certain)
        }
        (_, 300..=305, _) | (36 | 38 | 39, _, _) if count == 14 || count == 16 => {
            Some(Card::Certain)
        }
        (_, _, 2131 | 1800) if count == 15 => Some(Card::Certain),
        (50 | 56..=58, _, _) | (_, _, 6304 | 6390 | 6759 | 6761..=6763 | 6706 | 6771)
            if count >= 16 =>
        {
            Some(Card::Certain)
        }
        _ => Some(Card::Doubtful),
    }
}

/// Lengths of IBANs by country.
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 \
    CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 \
    HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 \
    MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 \
    SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

/// Returns how many characters the IBANs of a country have.
pub(super) fn iban_len(country: &[u8]) -> Option<usize> {
    let country = country.to_ascii_uppercase();
    IBAN_LENGTHS
        .split(' ')
        .find(|it| it.as_bytes()[..2] == *country)
        .and_then(|it| it[2..].parse().ok())
}

/// Says whether letters and digits pass the check of an IBAN: 1 modulo 97.
pub(super) fn iban(text: &[u8]) -> bool {
    let turned = text[4..].iter().chain(&text[..4]);
    let rest = turned.fold(0u32, |rest, it| match it {
        b'0'..=b'9' => (rest * 10 + u32::from(it - b'0')) % 97,
        _ => (rest * 100 + u32::from(it.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    rest == 1
}

/// Says whether a social security number can have been given out.
pub(super) fn ssn(digits: &[u8]) -> bool {
    let part = |from: usize, to: usize| &digits[from..to];
    digits.len() == 9
        && part(0, 3) != b"000"
        && part(0, 3) != b"666"
        && digits[0] != b'9'
        && part(3, 5) != b"00"
        && part(5, 9) != b"0000"
}

/// Says whether text is Base58 with the checksum that Bitcoin addresses carry.
pub(super) fn base58_address(text: &str) -> bool {
    const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0u8; 25];
    for letter in text.bytes() {
        let Some(digit) = LETTERS.iter().position(|it| *it == letter) else { return false };
        let mut carry = digit as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return false;
        }
    }
    let digest = Sha256::digest(Sha256::digest(&bytes[..21]));
    digest[..4] == bytes[21..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_digit_fails_the_check() {
        assert!(luhn(b"4111111111111111"));
        assert!(!luhn(b"4111111111111112"));
        assert!(iban(b"GB82WEST12345698765432"));
        assert!(!iban(b"GB82WEST12345698765433"));
        assert!(base58_address("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"));
        assert!(!base58_address("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"));
    }

    #[test]
    fn numbers_that_nobody_gives_out_are_no_ssn() {
        assert!(ssn(b"458935727"));
        for wrong in [b"000123456", b"666123456", b"900123456", b"123006789", b"123450000"] {
            assert!(!ssn(wrong), "{wrong:?}");
        }
    }
}
