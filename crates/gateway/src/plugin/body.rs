//! What a response's head has to say once its body becomes another one.

use http::{
    StatusCode, Version,
    header::{
        ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LAST_MODIFIED, TRANSFER_ENCODING,
    },
};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::exchange::Exchange;

/// Whether a response has no body, so that there is no moment to send one.
pub fn is_absent(response: &ResponseHeader) -> bool {
    matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || response.status.is_informational()
        || response.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0")
}

/// Takes back what the head says about the body, which will be another one of unknown length.
pub fn will_change(exchange: &Exchange, request: &RequestHeader, response: &mut ResponseHeader) {
    for name in [ACCEPT_RANGES, CONTENT_ENCODING, LAST_MODIFIED, ETAG] {
        response.remove_header(&name);
    }
    has_unknown_length(exchange, request, response);
}

/// Frames a body whose length is not known yet. One that comes whole has its length set when it is sent.
pub fn has_unknown_length(
    exchange: &Exchange,
    request: &RequestHeader,
    response: &mut ResponseHeader,
) {
    response.remove_header(&CONTENT_LENGTH);
    response.remove_header(&TRANSFER_ENCODING);
    if !exchange.response.is_whole && request.version == Version::HTTP_11 {
        // Fails only if the header map is full, and names were just taken out of it.
        let _ = response.insert_header(TRANSFER_ENCODING, "chunked");
    }
}
