//! An exact sum of finite floats as one long whole number.
//!
//! Invariant: the sum is a whole number of 2⁻¹⁰⁷⁴, the smallest float, kept in limbs of 64 bits in two's complement, as many
//! as it takes. The last limb is above all that was added, so that it would take 2⁶³ values to overflow it.

/// Limbs of the largest float, and the one above.
const MOST_LIMBS: usize = 35;

/// Adds up finite floats, and never rounds.
#[derive(Debug, Clone, Default)]
pub(super) struct WideSum {
    /// The place of the first limb: those below are zero.
    first: usize,
    /// From the lowest on; the last one has the sign.
    limbs: Vec<u64>,
}

impl WideSum {
    /// Adds a finite value.
    pub(super) fn add(&mut self, value: f64) {
        let (bits, fraction) = (value.to_bits(), value.to_bits() & ((1 << 52) - 1));
        let exponent = (bits >> 52 & 0x7ff) as usize;
        let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        if mantissa == 0 {
            return;
        }
        let shifted = u128::from(mantissa) << (shift % 64);
        self.make_room(shift / 64, shift / 64 + 3);
        self.add_limbs(shift / 64, &[shifted as u64, (shifted >> 64) as u64], value.is_sign_negative());
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &WideSum) {
        let Some(last) = other.limbs.last() else { return };
        self.make_room(other.first, other.first + other.limbs.len());
        // Above its own limbs, a negative number continues with ones.
        let sign = if (*last as i64) < 0 { u64::MAX } else { 0 };
        let above = (self.first + self.limbs.len()).saturating_sub(other.first + other.limbs.len());
        let extended: Vec<u64> = other.limbs.iter().copied().chain(std::iter::repeat_n(sign, above)).collect();
        self.add_limbs(other.first, &extended, false);
    }

    /// The sum divided by 2 to the power of `down`, rounded to nearest, ties to even. `down` is for sums that are too large.
    pub(super) fn rounded(&self, down: u32) -> f64 {
        let negative = self.limbs.last().is_some_and(|last| (*last as i64) < 0);
        let mut magnitude = self.limbs.clone();
        if negative {
            let mut carry = true;
            for limb in &mut magnitude {
                let (negated, overflowed) = (!*limb).overflowing_add(u64::from(carry));
                (*limb, carry) = (negated, overflowed);
            }
        }
        let Some(top) = magnitude.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let bit = |at: usize| magnitude[at / 64] >> (at % 64) & 1 == 1;
        // Places of bits within the limbs; `below` is what they are above 2^-1074.
        let below = self.first * 64;
        let highest = top * 64 + 63 - magnitude[top].leading_zeros() as usize;
        // The lowest bit that a float of this size has.
        let lowest = highest.saturating_sub(52);
        let low_limb =
            u128::from(magnitude[lowest / 64]) | u128::from(magnitude.get(lowest / 64 + 1).copied().unwrap_or(0)) << 64;
        let mut mantissa = (low_limb >> (lowest % 64)) as u64 & ((1 << 53) - 1);
        // Rounded off is what is below, if anything is.
        let half = lowest > 0 && bit(lowest - 1);
        let more = || {
            let whole = (lowest - 1) / 64;
            let part = magnitude[whole] & ((1u64 << ((lowest - 1) % 64)) - 1);
            part != 0 || magnitude[..whole].iter().any(|limb| *limb != 0)
        };
        if half && (mantissa % 2 == 1 || more()) {
            mantissa += 1;
        }
        let unsigned = scaled(mantissa, (below + lowest) as i64 - 1_074 - i64::from(down));
        if negative { -unsigned } else { unsigned }
    }

    /// Appends the place of the first limb and the limbs, without those that say nothing.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let zeros = self.limbs.iter().take_while(|limb| **limb == 0).count();
        bytes.push((self.first + zeros) as u8);
        self.limbs[zeros..].iter().for_each(|limb| bytes.extend(limb.to_le_bytes()));
    }

    /// Reads what [`write`](Self::write) has written; none: that is nothing of the kind.
    pub(super) fn read(bytes: &[u8]) -> Option<WideSum> {
        let (first, limbs) = bytes.split_first()?;
        let (limbs, []) = limbs.as_chunks::<8>() else { return None };
        let first = usize::from(*first);
        let limbs: Vec<u64> = limbs.iter().map(|limb| u64::from_le_bytes(*limb)).collect();
        (first + limbs.len() <= MOST_LIMBS).then_some(WideSum { first, limbs })
    }

    /// Makes sure that the limbs from `from` to before `to` are there.
    fn make_room(&mut self, from: usize, to: usize) {
        if self.limbs.is_empty() {
            (self.first, self.limbs) = (from, vec![0; to - from]);
            return;
        }
        if from < self.first {
            self.limbs.splice(0..0, std::iter::repeat_n(0, self.first - from));
            self.first = from;
        }
        let negative = self.limbs.last().is_some_and(|last| (*last as i64) < 0);
        let length = self.limbs.len().max(to - self.first);
        self.limbs.resize(length, if negative { u64::MAX } else { 0 });
    }

    /// Adds or subtracts limbs, for which there is room, from the one at `at` on.
    fn add_limbs(&mut self, at: usize, added: &[u64], negative: bool) {
        let own = &mut self.limbs[at - self.first..];
        let mut carry = false;
        for (place, limb) in own.iter_mut().enumerate() {
            let other = match added.get(place) {
                Some(other) => *other,
                None if carry => 0,
                None => break,
            };
            let step = if negative { u64::overflowing_sub } else { u64::overflowing_add };
            let (value, first) = step(*limb, other);
            let (value, second) = step(value, u64::from(carry));
            (*limb, carry) = (value, first || second);
        }
    }
}

/// `mantissa`, at most 2^53, times 2 to the power of `exponent`, which is no less than -1074: exact, or infinite.
fn scaled(mut mantissa: u64, mut exponent: i64) -> f64 {
    if mantissa == 1 << 53 {
        (mantissa, exponent) = (1 << 52, exponent + 1);
    }
    let room = i64::from(mantissa.leading_zeros()) - 11;
    let shift = room.min(exponent + 1_074).max(0);
    (mantissa, exponent) = (mantissa << shift, exponent - shift);
    if mantissa < 1 << 52 {
        // At the bottom, floats are whole numbers of the smallest one.
        return f64::from_bits(mantissa);
    }
    match exponent + 1_075 {
        biased if biased >= 2_047 => f64::INFINITY,
        biased => f64::from_bits((biased as u64) << 52 | (mantissa & ((1 << 52) - 1))),
    }
}
