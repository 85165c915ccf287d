//! How samples are packed: variable-length numbers, and chunks of one series in which a counter at
//! rest takes a byte for its time and a byte for its value.

/// Appends `number` in groups of seven bits, lowest first.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Takes a number off the front of `input`.
pub fn take_number(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(input, 1)?.first().copied()?;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Small numbers of either sign become small numbers.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, fold(number));
}

pub fn take_signed(input: &mut &[u8]) -> Option<i64> {
    take_number(input).map(unfold)
}

/// Appends bytes with their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(input)?).ok()?;
    take(input, length)
}

/// Appends one value by itself: short if it is a small integer.
pub fn put_value(out: &mut Vec<u8>, value: f64) {
    match whole(value) {
        Some(integer) => put_number(out, fold(integer) << 1),
        None => {
            put_number(out, 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

pub fn take_value(input: &mut &[u8]) -> Option<f64> {
    match take_number(input)? {
        1 => take(input, 8)?.try_into().ok().map(f64::from_le_bytes),
        code => Some(float(unfold(code >> 1))),
    }
}

/// Takes `length` bytes off the front of `input`.
pub fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(front)
}

fn fold(number: i64) -> u64 {
    number.wrapping_shl(1).cast_unsigned() ^ (number >> 63).cast_unsigned()
}

fn unfold(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg()
}

/// Samples of one series in order of time.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    times: Vec<u8>,
    values: Vec<u8>,
    pub count: u32,
    /// Time of the first sample; milliseconds since 1970, like all times here.
    pub first: i64,
    state: State,
}

/// What the next sample is written relative to. Both sides of the codec start from zeros.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    time: i64,
    step: i64,
    value: f64,
    change: i64,
}

/// Integers up to here are exact in a float.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The value as an integer, if it is one that comes back bit by bit.
fn whole(value: f64) -> Option<i64> {
    if value.abs() > WHOLE_MAX {
        return None;
    }
    // In range, as just checked; NaN becomes zero and fails the comparison of bits.
    #[expect(clippy::cast_possible_truncation, reason = "checked by coming back")]
    let integer = value as i64;
    (float(integer).to_bits() == value.to_bits()).then_some(integer)
}

#[expect(clippy::cast_precision_loss, reason = "integers up to WHOLE_MAX are exact")]
fn float(integer: i64) -> f64 {
    integer as f64
}

impl Chunk {
    /// Appends a sample; its time must be after the last one's.
    pub fn push(&mut self, time: i64, value: f64) {
        if self.count == 0 {
            self.first = time;
        }
        let state = &mut self.state;
        let step = time.wrapping_sub(state.time);
        put_signed(&mut self.times, step.wrapping_sub(state.step));
        (state.time, state.step) = (time, step);
        match (whole(state.value), whole(value)) {
            (Some(old), Some(new)) => {
                let change = new - old;
                put_number(&mut self.values, fold(change - state.change) << 1);
                state.change = change;
            }
            _ => {
                put_xor(&mut self.values, state.value.to_bits() ^ value.to_bits());
                state.change = 0;
            }
        }
        state.value = value;
        self.count += 1;
    }

    /// Time of the newest sample.
    pub fn last(&self) -> i64 {
        self.state.time
    }

    /// The chunk as [`Samples::read`] reads it. Times come first: those of series of one gateway are
    /// alike, which the compression of a block makes use of.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.count));
        put_bytes(out, &self.times);
        put_bytes(out, &self.values);
    }

    pub fn samples(&self) -> Samples<'_> {
        Samples {
            times: &self.times,
            values: &self.values,
            left: u64::from(self.count),
            state: State::default(),
        }
    }
}

/// Reads a chunk; ends early where it is damaged.
pub struct Samples<'a> {
    times: &'a [u8],
    values: &'a [u8],
    left: u64,
    state: State,
}

impl<'a> Samples<'a> {
    pub fn read(mut input: &'a [u8]) -> Option<Self> {
        let left = take_number(&mut input)?;
        let times = take_bytes(&mut input)?;
        let values = take_bytes(&mut input)?;
        Some(Self { times, values, left, state: State::default() })
    }
}

impl Iterator for Samples<'_> {
    type Item = (i64, f64);

    fn next(&mut self) -> Option<(i64, f64)> {
        self.left = self.left.checked_sub(1)?;
        let state = &mut self.state;
        state.step = state.step.wrapping_add(take_signed(&mut self.times)?);
        state.time = state.time.wrapping_add(state.step);
        let code = take_number(&mut self.values)?;
        if code & 1 == 0 {
            state.change = state.change.wrapping_add(unfold(code >> 1));
            state.value = float(whole(state.value)?.wrapping_add(state.change));
        } else {
            let bits = state.value.to_bits() ^ take_xor(&mut self.values, code >> 1)?;
            state.value = f64::from_bits(bits);
            state.change = 0;
        }
        Some((state.time, state.value))
    }
}

/// Writes which bytes of `bits` matter, then these.
fn put_xor(out: &mut Vec<u8>, bits: u64) {
    let bytes = bits.to_be_bytes();
    let start = bytes.iter().take_while(|byte| **byte == 0).count();
    let middle = bytes.get(start..).unwrap_or_default();
    let zeros = middle.iter().rev().take_while(|byte| **byte == 0).count();
    let middle = middle.get(..middle.len() - zeros).unwrap_or_default();
    put_number(out, ((start * 16 + middle.len()) as u64) << 1 | 1);
    out.extend_from_slice(middle);
}

fn take_xor(input: &mut &[u8], code: u64) -> Option<u64> {
    let start = usize::try_from(code / 16).ok()?;
    let middle = take(input, usize::try_from(code % 16).ok()?)?;
    let mut bytes = [0; 8];
    bytes.get_mut(start..)?.get_mut(..middle.len())?.copy_from_slice(middle);
    Some(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(samples: &[(i64, f64)]) -> Chunk {
        let mut chunk = Chunk::default();
        for (time, value) in samples {
            chunk.push(*time, *value);
        }
        chunk
    }

    proptest! {
        #[test]
        fn samples_come_back_bit_by_bit(
            samples in prop::collection::vec((any::<i64>(), prop_oneof![
                any::<f64>(), (0..1_000_000_i64).prop_map(float), Just(-0.0), Just(WHOLE_MAX),
                Just(-WHOLE_MAX), Just(f64::NAN)
            ]), 0..50),
        ) {
            let mut bytes = Vec::new();
            packed(&samples).write(&mut bytes);
            let read: Vec<_> = Samples::read(&bytes).unwrap().collect();
            let bits = |samples: &[(i64, f64)]| -> Vec<_> {
                samples.iter().map(|(time, value)| (*time, value.to_bits())).collect()
            };
            prop_assert_eq!(bits(&read), bits(&samples));
        }

        #[test]
        fn damage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(samples) = Samples::read(&bytes) {
                let _ = samples.count();
            }
        }
    }

    #[test]
    fn a_counter_at_rest_takes_two_bytes() {
        let chunk = packed(&(0..480).map(|i| (i * 15_000, 1_234_567.0)).collect::<Vec<_>>());
        let size = chunk.times.len() + chunk.values.len();
        assert!(size < 480 * 2 + 20, "{size}");
    }
}
