//! Spans of `tracing` as spans of OpenTelemetry.
//!
//! Fields become attributes. Three are taken as OpenTelemetry's own: `otel.name` is the name,
//! `otel.kind` can be `server`, and `traceparent` says which span of somebody else's is the parent
//! (W3C Trace Context). Events inside a span become its events.

use std::fmt::Debug;
use std::sync::mpsc::SyncSender;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::Message;
use super::proto::{self, ERROR, INTERNAL, KeyValue, SERVER, Status, Value};

/// Events of one span; more are counted.
const EVENTS_MAX: usize = 64;

pub struct Traces {
    spans: SyncSender<Message>,
    /// Share of traces that are taken, unless the client has decided.
    ratio: f64,
}

/// What is known of an open span.
struct Open {
    span: proto::Span,
    is_sampled: bool,
}

impl Traces {
    pub(super) fn new(spans: SyncSender<Message>, ratio: f64) -> Self {
        Self { spans, ratio }
    }

    fn begin(&self) -> Open {
        let trace: u128 = rand::random();
        let span = proto::Span {
            trace_id: trace.to_be_bytes().into(),
            span_id: rand::random::<u64>().to_be_bytes().into(),
            kind: INTERNAL,
            start_time_unix_nano: now(),
            ..proto::Span::default()
        };
        Open { span, is_sampled: rand::random::<f64>() < self.ratio }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut open = self.begin();
        attributes.metadata().name().clone_into(&mut open.span.name);
        if let Some(parent) = span.parent() {
            open.follow(&parent);
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        open.take(fields);
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            let mut fields = Fields::default();
            values.record(&mut fields);
            open.take(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(span) = context.event_span(event) else { return };
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<Open>().filter(|open| open.is_sampled) else {
            return;
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut name = String::new();
        let mut attributes = Vec::new();
        for field in fields.0 {
            match field {
                ("message", Value::String(text)) => name = text,
                (key, value) => attributes.push(KeyValue::new(key, value)),
            }
        }
        if *event.metadata().level() == Level::ERROR {
            open.span.status = Some(Status { message: name.clone(), code: ERROR });
        }
        if open.span.events.len() >= EVENTS_MAX {
            open.span.dropped_events_count += 1;
            return;
        }
        open.span.events.push(proto::Event { time_unix_nano: now(), name, attributes });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(Open { mut span, is_sampled: true }) = span.extensions_mut().remove::<Open>()
        else {
            return;
        };
        span.end_time_unix_nano = now();
        // A full queue means a collector that does not keep up: better its loss than ours.
        let _ = self.spans.try_send(Message::Span(Box::new(span)));
    }
}

impl Open {
    /// Becomes a part of the parent's trace.
    fn follow<'a, S: LookupSpan<'a>>(&mut self, parent: &SpanRef<'a, S>) {
        if let Some(parent) = parent.extensions().get::<Self>() {
            self.span.trace_id.clone_from(&parent.span.trace_id);
            self.span.parent_span_id.clone_from(&parent.span.span_id);
            self.is_sampled = parent.is_sampled;
        }
    }

    fn follow_remote(&mut self, traceparent: &str) {
        if let Some((trace, parent, is_sampled)) = parse(traceparent) {
            self.span.trace_id = trace.to_be_bytes().into();
            self.span.parent_span_id = parent.to_be_bytes().into();
            self.is_sampled = is_sampled;
        }
    }

    fn take(&mut self, fields: Fields) {
        for field in fields.0 {
            match field {
                ("otel.name", Value::String(name)) => self.span.name = name,
                ("otel.kind", Value::String(kind)) if kind == "server" => self.span.kind = SERVER,
                ("traceparent", Value::String(text)) => self.follow_remote(&text),
                (key, value) => self.span.attributes.push(KeyValue::new(key, value)),
            }
        }
    }
}

/// Trace, span, and whether it is sampled.
fn parse(traceparent: &str) -> Option<(u128, u64, bool)> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let has_more = parts.next().is_some();
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_whole = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !is_whole || version == "ff" || (version == "00" && has_more) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    Some((trace, span, u8::from_str_radix(flags, 16).ok()? & 1 == 1))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.push((field.name(), value));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Double(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_as_they_are_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let expected = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7, true);
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse(&text.replace("-01", "-00")), Some((expected.0, expected.1, false)));
        for other in [
            "",
            "00-0-0-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
