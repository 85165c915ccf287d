//! Parts of a response that is there as a whole: what `Range` and `If-Range` ask for.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, StatusCode, header};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    proxy::{MultiRangeInfo, RangeType, range_header_filter},
};

use crate::{exchange::Response, request};

/// Requests for so many ranges, or more, get everything.
const RANGES_MAX: usize = 100;

/// What is sent of a body.
pub struct Part {
    ranges: Ranges,
    /// The length of the whole.
    length: u64,
    /// Bytes of the whole that have passed.
    passed: usize,
    /// Whether the end of the part waits for the end of the whole.
    waits: bool,
    /// The end of the part that waits.
    held: Option<Bytes>,
}

enum Ranges {
    One(Range<usize>),
    Several(MultiRangeInfo),
}

impl Part {
    /// Makes a whole response, all changes done, one with the part that the request asks for. None if
    /// it asks for none, or the response does not say that it comes in parts. Several ranges make a part
    /// only if the body is there at once.
    pub fn of(
        request: &RequestHeader,
        response: &mut ResponseHeader,
        known: &Response,
    ) -> Option<Self> {
        let asked = request.headers.get(header::RANGE)?.to_str().ok()?;
        let accepts = response.headers.get(header::ACCEPT_RANGES)?;
        let length = request::length(&response.headers).filter(|length| *length > 0)?;
        let is_usable = request.method == Method::GET
            && response.status == StatusCode::OK
            && accepts.as_bytes().eq_ignore_ascii_case(b"bytes")
            && !asks_for_nothing(asked);
        if !is_usable {
            return None;
        }
        let ranges_max = if known.is_whole { RANGES_MAX } else { 2 };
        let ranges = match range_header_filter(request, response, Some(ranges_max)) {
            RangeType::None => return None,
            RangeType::Single(range) => Ranges::One(range),
            RangeType::Multi(ranges) => Ranges::Several(ranges),
            RangeType::Invalid => Ranges::One(0..0),
        };
        Some(Self { ranges, length, passed: 0, waits: known.is_kept, held: None })
    }

    /// Leaves of a piece of the body what belongs to the part. If the whole is kept, the last bytes come
    /// with its end: nobody would read what comes after them once a client has all it has asked for.
    pub fn cut(&mut self, piece: &mut Option<Bytes>, end: bool) {
        let whole = piece.take().unwrap_or_default();
        let range = match &self.ranges {
            Ranges::One(range) => range.clone(),
            Ranges::Several(ranges) => {
                *piece = Some(multipart(ranges, self.length, &whole));
                return;
            }
        };
        let place = |at: usize| at.saturating_sub(self.passed).min(whole.len());
        let own = whole.slice(place(range.start)..place(range.end));
        self.passed += whole.len();
        if self.passed < range.end || !self.waits {
            *piece = Some(own);
            return;
        }
        let last = self.held.take().filter(|held| !held.is_empty()).unwrap_or(own);
        if end {
            *piece = Some(last);
        } else {
            self.held = Some(last);
        }
    }
}

/// Whether one of the ranges is the last zero bytes, which Pingora takes for some.
fn asks_for_nothing(asked: &str) -> bool {
    let (_, ranges) = asked.split_once('=').unwrap_or_default();
    ranges.split(',').any(|range| {
        range.trim().strip_prefix('-').is_some_and(|last| last.bytes().all(|byte| byte == b'0'))
    })
}

/// The parts of a whole body, one after the other (RFC 9110, 14.6).
fn multipart(ranges: &MultiRangeInfo, length: u64, whole: &Bytes) -> Bytes {
    let (boundary, kind) = (&ranges.boundary, ranges.content_type.as_deref());
    let mut out = BytesMut::new();
    for range in &ranges.ranges {
        let (start, last) = (range.start, range.end.saturating_sub(1));
        out.put_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        if let Some(kind) = kind {
            out.put_slice(format!("Content-Type: {kind}\r\n").as_bytes());
        }
        out.put_slice(format!("Content-Range: bytes {start}-{last}/{length}\r\n\r\n").as_bytes());
        out.put_slice(whole.get(range.clone()).unwrap_or_default());
    }
    out.put_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, `Content-Range` and what is sent of `0123456789` in these pieces.
    fn part(
        range: &str,
        headers: &[(&'static str, &str)],
        pieces: &[&str],
    ) -> (u16, String, Vec<String>) {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header("range", range).unwrap();
        for (name, value) in headers {
            request.insert_header(*name, *value).unwrap();
        }
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in
            [("content-length", "10"), ("accept-ranges", "bytes"), ("etag", "\"a\"")]
        {
            response.insert_header(name, value).unwrap();
        }
        let known = Response { is_whole: pieces.len() == 1, is_kept: true, ..Response::default() };
        let mut part = Part::of(&request, &mut response, &known);
        let mut sent = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let mut piece = Some(Bytes::copy_from_slice(piece.as_bytes()));
            if let Some(part) = &mut part {
                part.cut(&mut piece, number + 1 == pieces.len());
            }
            sent.push(String::from_utf8(piece.unwrap_or_default().to_vec()).unwrap());
        }
        let range = response.headers.get("content-range");
        let range = range.map_or("", |range| range.to_str().unwrap()).to_owned();
        (response.status.as_u16(), range, sent)
    }

    #[test]
    fn a_part_ends_with_the_whole() {
        let pieces = ["012", "345", "6789", ""];
        for (range, expected) in [
            ("bytes=0-1", ["", "", "", "01"]),
            ("bytes=1-3", ["12", "", "", "3"]),
            ("bytes=4-4", ["", "", "", "4"]),
            ("bytes=2-", ["2", "345", "", "6789"]),
            ("bytes=-3", ["", "", "", "789"]),
        ] {
            let (status, _, sent) = part(range, &[], &pieces);
            assert_eq!((status, sent), (206, expected.map(str::to_owned).into()), "{range}");
        }
    }

    #[test]
    fn what_is_no_part_is_everything() {
        let whole = ["0123456789"];
        for (range, header, expected) in [
            ("bytes=2-3", ("if-range", "\"a\""), (206, "bytes 2-3/10", "23")),
            ("bytes=2-3", ("if-range", "\"b\""), (200, "", "0123456789")),
            ("bytes=10-", ("x", "y"), (416, "bytes */10", "")),
            ("bytes=-0", ("x", "y"), (200, "", "0123456789")),
            ("bytes=-", ("x", "y"), (200, "", "0123456789")),
            ("lines=1-2", ("x", "y"), (200, "", "0123456789")),
        ] {
            let (status, content_range, sent) = part(range, &[header], &whole);
            assert_eq!((status, &*content_range, &*sent[0]), expected, "{range} {header:?}");
        }
        assert_eq!(
            part("bytes=0-1,4-5", &[], &["01234", "56789"]).0,
            200,
            "only if it is at once there"
        );
    }

    #[test]
    fn several_ranges_are_parts_of_one_body() {
        let (status, _, sent) = part("bytes=0-1,8-", &[], &["0123456789"]);
        let pieces: Vec<&str> = sent[0].split("\r\n").collect();
        assert_eq!((status, pieces.len()), (206, 13));
        let kind = "Content-Type: application/octet-stream";
        assert_eq!(pieces[2..6], [kind, "Content-Range: bytes 0-1/10", "", "01"]);
        assert_eq!(pieces[7..11], [kind, "Content-Range: bytes 8-9/10", "", "89"]);
        assert_eq!((pieces[1], pieces[11]), (pieces[6], &*format!("{}--", pieces[1])));
    }
}
