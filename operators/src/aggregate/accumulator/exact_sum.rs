//! A sum of floats that is rounded once, when it is asked for.
//!
//! Invariant: what is kept is the exact sum of all that was added and merged. So neither the order of the rows, nor how they
//! are cut into batches and spread over subtasks, changes a bit of the result; and nothing overflows on the way to a sum that
//! is small again. Infinities and NaN go by the rules of IEEE 754, and a sum of zeros is +0.
//!
//! Two doubles hold nearly every sum: the second takes what the first has rounded off. What does not fit them is kept in a
//! [`WideSum`].

use super::wide_sum::WideSum;
use weir_engine::{EngineError, Result};

/// The exact sum of some floats.
#[derive(Debug, Clone, Default)]
pub(super) struct ExactSum {
    /// The sum is `high + low`, unless there is a wide one. Infinite or not a number: that is the sum.
    high: f64,
    low: f64,
    /// The sum; then the others are zero.
    wide: Option<Box<WideSum>>,
}

/// The rounded sum, and exactly what was rounded off.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// The rounded product, and exactly what was rounded off: Dekker's, which needs no fused instruction. Of products below
/// 10⁻²⁹¹ what was rounded off may be too small for a float.
#[inline(always)]
pub(super) fn two_product(a: f64, b: f64) -> (f64, f64) {
    let split = |value: f64| {
        let scaled = value * 134_217_729.0;
        let high = scaled - (scaled - value);
        (high, value - high)
    };
    let (product, (a_high, a_low), (b_high, b_low)) = (a * b, split(a), split(b));
    let rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    // Splitting overflows near the largest floats.
    if rest.is_finite() || !product.is_finite() { (product, rest) } else { (product, a.mul_add(b, -product)) }
}

impl ExactSum {
    /// Adds a value.
    #[inline(always)]
    pub(super) fn add(&mut self, value: f64) {
        let (high, rest) = two_sum(self.high, value);
        let (low, lost) = two_sum(self.low, rest);
        // Not so where anything overflows, or is not a number.
        if lost == 0.0 && self.wide.is_none() {
            (self.high, self.low) = (high, low);
        } else {
            self.add_slowly(value);
        }
    }

    #[cold]
    fn add_slowly(&mut self, value: f64) {
        if !self.high.is_finite() || !value.is_finite() {
            return self.set_special(self.high + value);
        }
        self.widened().add(value);
    }

    /// Merges another sum.
    pub(super) fn merge(&mut self, other: &ExactSum) {
        if !self.high.is_finite() || !other.high.is_finite() {
            return self.set_special(self.high + other.high);
        }
        match &other.wide {
            Some(wide) => self.widened().merge(wide),
            None => {
                self.add(other.high);
                self.add(other.low);
            }
        }
    }

    fn set_special(&mut self, value: f64) {
        // One NaN is as good as another, and all are to have the same bits.
        let value = if value.is_nan() { f64::NAN } else { value };
        *self = ExactSum { high: value, ..ExactSum::default() };
    }

    fn widened(&mut self) -> &mut WideSum {
        let (high, low) = (std::mem::take(&mut self.high), std::mem::take(&mut self.low));
        let wide = self.wide.get_or_insert_default();
        wide.add(high);
        wide.add(low);
        wide
    }

    /// The sum, rounded to nearest, ties to even.
    pub(super) fn value(&self) -> f64 {
        match &self.wide {
            Some(wide) => wide.rounded(0),
            // A zero is positive.
            None => self.high + self.low + 0.0,
        }
    }

    /// Floats whose exact sum this is, the largest first; none: the sum is no finite float.
    pub(super) fn parts(&self) -> Option<Vec<f64>> {
        let Some(wide) = &self.wide else { return self.high.is_finite().then(|| vec![self.high, self.low]) };
        let (mut rest, mut parts) = (WideSum::clone(wide), Vec::new());
        loop {
            match rest.rounded(0) {
                0.0 => return Some(parts),
                part if part.is_finite() => {
                    rest.add(-part);
                    parts.push(part);
                }
                _ => return None,
            }
        }
    }

    /// The rounded sum divided by `count`. It does not overflow where only the sum does.
    pub(super) fn mean(&self, count: i64) -> f64 {
        let sum = self.value();
        if sum.is_finite() || !self.high.is_finite() {
            return sum / count as f64;
        }
        const SHIFT: u32 = 64;
        let scaled = self.clone().widened().rounded(SHIFT) / count as f64;
        (scaled * f64::from_bits(u64::from(1023 + SHIFT) << 52)).clamp(f64::MIN, f64::MAX)
    }

    /// Appends the form in which it is sent and stored: one double or two, little-endian, or a wide sum.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        if let Some(wide) = &self.wide {
            let high = wide.rounded(0);
            let mut rest = WideSum::clone(wide);
            if high.is_finite() {
                rest.add(-high);
            }
            let low = rest.rounded(0);
            rest.add(-low);
            if high.is_finite() && rest.rounded(0) == 0.0 {
                return write_two(high, low, bytes);
            }
            return wide.write(bytes);
        }
        let (high, low) = two_sum(self.high, self.low);
        if self.high.is_finite() && high.is_finite() {
            write_two(high, low, bytes);
        } else {
            write_two(self.high, self.low, bytes);
        }
    }

    /// Merges what [`write`](Self::write) has written.
    ///
    /// # Errors
    /// When it is nothing that was.
    pub(super) fn merge_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match bytes.as_chunks::<8>() {
            ([high], []) => self.add(f64::from_le_bytes(*high)),
            ([high, low], []) => {
                self.add(f64::from_le_bytes(*high));
                self.add(f64::from_le_bytes(*low));
            }
            _ => {
                let wide = WideSum::read(bytes)
                    .ok_or_else(|| EngineError::corrupt(format!("{} bytes are no sum of floats", bytes.len())))?;
                self.merge(&ExactSum { wide: Some(Box::new(wide)), ..ExactSum::default() });
            }
        }
        Ok(())
    }
}

fn write_two(high: f64, low: f64, bytes: &mut Vec<u8>) {
    bytes.extend(high.to_le_bytes());
    if low != 0.0 {
        bytes.extend(low.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum
    }

    #[test]
    fn sums_are_exact() {
        assert_eq!(sum(&[0.1; 10]).value(), 1.0, "ten tenths, which plain addition makes less than one");
        assert_eq!(sum(&[1e16, 1.0, -1e16]).value(), 1.0);
        assert_eq!(sum(&[1e100, 1.0, -1e100, 1e-100]).value(), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX, "no overflow on the way");
        assert_eq!(sum(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
        assert_eq!(sum(&[f64::MIN_POSITIVE, -5e-324, 5e-324]).value(), f64::MIN_POSITIVE);
        assert_eq!(sum(&[1.0, f64::EPSILON / 2.0, 1e-300]).value(), 1.0 + f64::EPSILON, "just above a tie");
        assert_eq!(sum(&[1.0, f64::EPSILON / 2.0]).value(), 1.0, "a tie goes to the even one");
    }

    #[test]
    fn special_values_go_by_the_rules_in_any_order() {
        let bits = |values: &[f64]| sum(values).value().to_bits();
        let (inf, nan) = (f64::INFINITY, f64::NAN.to_bits());
        assert_eq!(bits(&[]), 0);
        assert_eq!(bits(&[-0.0, -0.0]), 0);
        assert_eq!(bits(&[5.0, -5.0, -0.0]), 0);
        assert_eq!((bits(&[1.0, inf]), bits(&[f64::MAX, f64::MAX, -inf])), (inf.to_bits(), (-inf).to_bits()));
        for values in [[inf, -inf, 1.0], [1.0, -inf, inf], [-f64::NAN, 1.0, inf], [inf, 1.0, f64::from_bits(nan | 5)]] {
            assert_eq!(bits(&values), nan);
        }
        assert!(sum(&[f64::NAN]).mean(1).is_nan());
    }

    #[test]
    fn a_mean_does_not_overflow() {
        assert_eq!(sum(&[1e308; 3]).mean(3), 1e308);
        assert_eq!(sum(&[f64::MAX; 3]).mean(3), f64::MAX);
        assert_eq!(sum(&[f64::MIN; 7]).mean(7), f64::MIN);
        assert_eq!(sum(&[1.0, 2.0]).mean(2), 1.5);
        assert_eq!(sum(&[1.0, f64::INFINITY]).mean(2), f64::INFINITY);
    }

    #[test]
    fn products_are_exact() {
        for (a, b) in [(0.1, 0.1), (1e16 + 2.0, 1e16 - 2.0), (-3.3, 7.7e100), (f64::MAX, 0.5), (1.3e300, 1.1e-7)] {
            let (product, rest) = two_product(a, b);
            assert_eq!((product, rest), (a * b, a.mul_add(b, -product)), "{a} {b}");
        }
        assert_eq!(two_product(1e200, 1e200).0, f64::INFINITY);
        assert_eq!(sum(&[1e100, 1.0, 1e-100]).parts().unwrap(), [1e100, 1.0, 1e-100]);
        assert_eq!(sum(&[f64::INFINITY]).parts(), None);
    }

    /// Whole numbers of the smallest float there is, as signed bits in a row: slow, and nothing can go wrong.
    fn reference(values: &[f64]) -> f64 {
        let mut bits = vec![0i64; 2_200];
        for value in values {
            let (fraction, exponent) = (value.to_bits() & ((1 << 52) - 1), (value.to_bits() >> 52 & 0x7ff) as usize);
            let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
            for bit in (0..53).filter(|bit| mantissa >> bit & 1 == 1) {
                bits[bit + exponent.max(1) - 1] += if value.is_sign_negative() { -1 } else { 1 };
            }
        }
        let carry = |bits: &mut Vec<i64>| {
            for at in 0..bits.len() - 1 {
                bits[at + 1] += bits[at].div_euclid(2);
                bits[at] = bits[at].rem_euclid(2);
            }
        };
        carry(&mut bits);
        let negative = bits.last().is_some_and(|last| *last < 0);
        if negative {
            bits.iter_mut().for_each(|bit| *bit = -*bit);
            carry(&mut bits);
        }
        let Some(top) = bits.iter().rposition(|bit| *bit == 1) else { return 0.0 };
        let lowest = top.saturating_sub(52);
        let mut mantissa = bits[lowest..=top].iter().rev().fold(0u64, |all, bit| all << 1 | *bit as u64);
        let half = lowest > 0 && bits[lowest - 1] == 1;
        let more = lowest > 1 && bits[..lowest - 1].contains(&1);
        if half && (more || mantissa % 2 == 1) {
            mantissa += 1;
        }
        // Two exact steps, as the scale alone may be no float: 2^lowest, then 2^-1074.
        let mut value = mantissa as f64;
        for _ in 0..lowest {
            value *= 2.0;
            if value > 1e300 {
                break;
            }
        }
        let value = if value > 1e300 {
            // Large: scaled the other way round.
            let exponent = lowest as i32 - 1_074;
            mantissa as f64 * 2f64.powi(exponent - exponent / 2) * 2f64.powi(exponent / 2)
        } else {
            let mut value = value;
            for _ in 0..1_074 {
                value /= 2.0;
            }
            value
        };
        if negative { -value } else { value }
    }

    fn any_float() -> impl Strategy<Value = f64> {
        let finite = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite());
        prop_oneof![
            3 => -1e6..1e6,
            2 => (-100_000i64..100_000).prop_map(|cents| cents as f64 / 100.0),
            2 => finite,
            1 => prop::sample::select(vec![f64::MAX, f64::MIN, 5e-324, -5e-324, 1e16, 1.0, f64::EPSILON, -0.0]),
            1 => (-40i32..40, 1.0..2.0).prop_map(|(exponent, value)| value * 2f64.powi(exponent * 10)),
        ]
    }

    proptest! {
        #[test]
        fn any_order_and_any_merges_give_the_same_bits(
            values in prop::collection::vec(any_float(), 0..40), order in any::<u64>(), parts in 1usize..6, opposite in any::<bool>(),
        ) {
            let mut values = values;
            if opposite {
                // What is left when nearly all of it cancels out.
                let others: Vec<f64> = values.iter().skip(1).map(|value| -value).collect();
                values.extend(others);
            }
            let expected = reference(&values) + 0.0;
            prop_assert_eq!(sum(&values).value().to_bits(), expected.to_bits(), "{} {}", sum(&values).value(), expected);
            let mut mixed: Vec<(u64, f64)> =
                values.iter().enumerate().map(|(n, value)| (order.wrapping_mul(n as u64 * 2 + 1).rotate_left(17), *value)).collect();
            mixed.sort_by_key(|(at, _)| *at);
            let mixed: Vec<f64> = mixed.into_iter().map(|(_, value)| value).collect();
            let mut merged = ExactSum::default();
            for part in mixed.chunks(mixed.len().div_ceil(parts).max(1)) {
                let (mut bytes, part) = (Vec::new(), sum(part));
                part.write(&mut bytes);
                prop_assert!(bytes.len() <= 300);
                let mut restored = ExactSum::default();
                restored.merge_bytes(&bytes).unwrap();
                prop_assert_eq!(restored.value().to_bits(), part.value().to_bits());
                if order % 2 == 0 { merged.merge(&restored) } else { merged.merge_bytes(&bytes).unwrap() }
            }
            prop_assert_eq!(merged.value().to_bits(), expected.to_bits());
        }

        #[test]
        fn other_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut sum = ExactSum::default();
            if sum.merge_bytes(&bytes).is_ok() {
                sum.add(1.0);
                sum.value();
            }
        }
    }
}
