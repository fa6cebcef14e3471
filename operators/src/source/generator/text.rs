//! The texts of a click, digit by digit into a buffer: what every format shares.
//!
//! Invariant: everything written here is ASCII, and one click's texts are the same in every format.

use super::click::{COUNTRIES, Click};
use chrono::DateTime;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes the texts of clicks. Keeps the last date written, since dates repeat for millions of clicks.
pub(super) struct ClickText {
    ad_digits: usize,
    day: Option<i64>,
    date: Vec<u8>,
}

impl ClickText {
    /// Texts for clicks on `ads` ads: their numbers are padded to the same length, at least six digits.
    pub(super) fn new(ads: u32) -> Self {
        ClickText { ad_digits: ads.to_string().len().max(6), day: None, date: Vec::with_capacity(10) }
    }

    /// `ad000001` is the most clicked ad.
    pub(super) fn ad_id(&self, click: &Click, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ad");
        push_padded(u64::from(click.ad) + 1, self.ad_digits, out);
    }

    /// Thirty-two hexadecimal digits.
    pub(super) fn event_id(&self, click: &Click, out: &mut Vec<u8>) {
        let mut digits = [0u8; 32];
        let (high, low) = click.event_id;
        let bytes = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        out.extend_from_slice(&digits);
    }

    /// `user 123`.
    pub(super) fn user_id(&self, click: &Click, out: &mut Vec<u8>) {
        out.extend_from_slice(b"user ");
        push_padded(u64::from(click.user), 1, out);
    }

    /// `207.148.22.22`.
    pub(super) fn ip(&self, click: &Click, out: &mut Vec<u8>) {
        for (position, part) in click.ip.iter().enumerate() {
            if position > 0 {
                out.push(b'.');
            }
            push_padded(u64::from(*part), 1, out);
        }
    }

    /// `USA`.
    pub(super) fn country(&self, click: &Click, out: &mut Vec<u8>) {
        out.extend_from_slice(COUNTRIES[usize::from(click.country)].0.as_bytes());
    }

    /// `2022-03-04 00:00:01`, with `separator` between date and time.
    pub(super) fn timestamp(&mut self, click: &Click, separator: u8, out: &mut Vec<u8>) {
        let (day, second) = (click.second.div_euclid(86_400), click.second.rem_euclid(86_400) as u64);
        if self.day != Some(day) {
            let midnight =
                DateTime::from_timestamp(day * 86_400, 0).expect("the configuration keeps years to 1..=9999");
            self.date = midnight.format("%Y-%m-%d").to_string().into_bytes();
            self.day = Some(day);
        }
        out.extend_from_slice(&self.date);
        for (mark, part) in [(separator, second / 3_600), (b':', second / 60 % 60), (b':', second % 60)] {
            out.push(mark);
            push_padded(part, 2, out);
        }
    }
}

/// A number in decimal digits, with zeros in front up to `digits`.
fn push_padded(number: u64, digits: usize, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 20];
    let mut start = buffer.len();
    let mut rest = number;
    while rest > 0 {
        start -= 1;
        buffer[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&buffer[start.min(buffer.len() - digits)..]);
}

#[cfg(test)]
mod tests {
    use super::{super::click::Origin, *};

    fn written(write: impl FnOnce(&mut ClickText, &Click, &mut Vec<u8>)) -> String {
        let click = Click {
            event_id: (0x0123_4567_89ab_cdef, 0xff),
            ad: 41,
            second: 1_646_352_001,
            user: 120,
            ip: [207, 148, 22, 0],
            country: 0,
            origin: Origin::Fresh,
        };
        let mut out = Vec::new();
        write(&mut ClickText::new(10_000), &click, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_what_a_server_would_log() {
        assert_eq!(written(|text, click, out| text.ad_id(click, out)), "ad000042");
        assert_eq!(written(|text, click, out| text.event_id(click, out)), "0123456789abcdef00000000000000ff");
        assert_eq!(written(|text, click, out| text.timestamp(click, b' ', out)), "2022-03-04 00:00:01");
        assert_eq!(written(|text, click, out| text.user_id(click, out)), "user 120");
        assert_eq!(written(|text, click, out| text.ip(click, out)), "207.148.22.0");
        assert_eq!(written(|text, click, out| text.country(click, out)), "USA");
    }

    #[test]
    fn ad_numbers_grow_beyond_six_digits_together() {
        let click =
            Click { event_id: (0, 0), ad: 0, second: 0, user: 1, ip: [1; 4], country: 1, origin: Origin::Fresh };
        let mut out = Vec::new();
        ClickText::new(2_000_000).ad_id(&click, &mut out);
        assert_eq!(out, b"ad0000001");
    }

    #[test]
    fn dates_before_the_epoch_are_written_too() {
        let click =
            Click { event_id: (0, 0), ad: 0, second: -1, user: 1, ip: [1; 4], country: 1, origin: Origin::Fresh };
        let mut out = Vec::new();
        ClickText::new(1).timestamp(&click, b'T', &mut out);
        assert_eq!(out, b"1969-12-31T23:59:59");
    }
}
