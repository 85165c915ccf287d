//! How Kafka writes things down: numbers from their high end, texts with their length in front, and
//! messages in batches with a checksum.

/// Appends what requests consist of.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn i8(&mut self, value: i8) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A text of less than 32 KiB.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX)).bytes(text.as_bytes())
    }

    /// Bytes with their length in front.
    pub fn block(&mut self, bytes: &[u8]) -> &mut Self {
        self.i32(length(bytes)).bytes(bytes)
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A number in as few bytes as it takes, small ones of either sign in one.
    pub fn varint(&mut self, value: i64) -> &mut Self {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    /// Bytes with their length in front as a varint; None has the length -1.
    fn varblock(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.varint(length(bytes).into()).bytes(bytes),
            None => self.varint(-1),
        }
    }
}

/// What is longer than a gigabyte was refused before it came here.
fn length(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

/// A batch of one message, as brokers store it.
pub fn batch(key: Option<&str>, message: &[u8], now_ms: i64) -> Vec<u8> {
    let mut record = Writer::default();
    // Attributes, and the distances in time and place from the batch's first message.
    record.i8(0).varint(0).varint(0).varblock(key.map(str::as_bytes)).varblock(Some(message));
    // No headers.
    record.varint(0);
    let mut body = Writer::default();
    // Attributes: not compressed, no transaction. Then the last offset, the first and last time.
    body.i16(0).i32(0).i64(now_ms).i64(now_ms);
    // No producer that would be numbered, and one message.
    body.i64(-1).i16(-1).i32(-1).i32(1);
    body.varint(length(&record.0).into()).bytes(&record.0);
    let checksum = crc32c(&body.0).cast_signed();
    let mut rest = Writer::default();
    // No leader's epoch, format 2.
    rest.i32(-1).i8(2).i32(checksum).bytes(&body.0);
    let mut batch = Writer::default();
    batch.i64(0).block(&rest.0);
    batch.0
}

/// The checksum of batches (Castagnoli), byte by byte.
pub fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| {
        let index = usize::from((sum as u8) ^ byte);
        TABLE.get(index).map_or(0, |entry| entry ^ (sum >> 8))
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[expect(clippy::indexing_slicing, reason = "the loop ends at the length")]
const fn table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
}

/// Takes apart what brokers answer; None when there is less than there should be.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// A text, or None inside for one that is absent.
    pub fn text(&mut self) -> Option<Option<String>> {
        match usize::try_from(self.i16()?) {
            Ok(length) => String::from_utf8(self.take(length)?.to_vec()).ok().map(Some),
            Err(_) => Some(None),
        }
    }

    pub fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.i32()?).ok()?;
        self.take(length)
    }

    /// Several of a kind.
    pub fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.i32()?).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn numbers_take_as_few_bytes_as_they_can() {
        let written = |value| std::mem::take(&mut Writer::default().varint(value).0);
        assert_eq!(written(0), [0]);
        assert_eq!(written(-1), [1]);
        assert_eq!(written(63), [126]);
        assert_eq!(written(64), [0x80, 1]);
        assert_eq!(written(-300), [0xd7, 4]);
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        assert_eq!(Reader(&[0, 3, b'a']).text(), None);
        assert_eq!(Reader(&[0xff, 0xff]).text(), Some(None));
        assert_eq!(Reader(&[0, 0, 0, 9, 1]).block(), None);
        assert_eq!(Reader(&[0x7f, 0xff, 0xff, 0xff, 1]).list(Reader::i8), None);
    }
}
