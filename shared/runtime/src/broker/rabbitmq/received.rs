//! Messages as they come from RabbitMQ.
//!
//! Beside the sender's own headers a message has ours (how often it was tried,
//! why it failed) and the broker's. A consumer only sees those of the sender.

use std::time::Duration;

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use maskline_foundation::{text::first_bytes, time::unix_millis};
use maskline_messages::{
    Queue,
    topology::{DEAD_LETTERS, headers},
};
use uuid::Uuid;

use super::{
    headers::{insert, is_brokers, is_senders, text},
    ladder::Wait,
    outgoing::Outgoing,
    topology::DELIVERY_LIMIT,
};
use crate::broker::{
    dead_letter::{DeadLetter, DeadLetterId, DeadLetterKind, DeadLetterReason},
    envelope::Envelope,
};

/// The most bytes of an error that stay with a message.
const MAX_ERROR: usize = 16 * 1024;

/// A message as it came from a queue.
pub struct Received {
    routing_key: ShortString,
    properties: BasicProperties,
    body: Bytes,
}

impl Received {
    pub fn new(routing_key: ShortString, properties: BasicProperties, body: Vec<u8>) -> Self {
        Self {
            routing_key,
            properties,
            body: body.into(),
        }
    }

    /// The message as its sender made it. Headers whose values are no text are left out.
    pub fn envelope(&self) -> Envelope {
        let headers = self.headers().filter(|(name, _)| is_senders(name));
        let headers = headers
            .filter_map(|(name, value)| Some((name.to_owned(), text(value)?)))
            .collect();
        Envelope {
            key: self.key(),
            headers,
            body: self.body.clone(),
        }
    }

    /// Earlier attempts that ended in a retry.
    pub fn attempts(&self) -> u32 {
        let attempts = self.header(headers::ATTEMPTS);
        attempts.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// True if it came back from a delay queue.
    pub fn was_delayed(&self) -> bool {
        self.header(headers::ATTEMPTS).is_some()
    }

    /// How often it was delivered before and not settled, if the broker counts that.
    pub fn redelivered(&self) -> u32 {
        let count = self.header("x-delivery-count");
        count.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The key that its sender gave it. On its way through another queue a message gets
    /// that queue's name for a key.
    fn key(&self) -> String {
        let original = self.header(headers::ORIGINAL_KEY);
        let original = original.or_else(|| self.death()?.key);
        original.unwrap_or_else(|| self.routing_key.to_string())
    }

    /// The message on its way to the delay queue of that name, from where it comes back to its own
    /// queue after the wait, with so many earlier attempts.
    pub fn delayed(&self, name: &str, wait: Wait, attempts: u32, error: &str) -> Outgoing {
        let mut headers = self.senders_headers();
        insert(&mut headers, headers::ATTEMPTS, &attempts.to_string());
        insert(&mut headers, headers::ORIGINAL_KEY, &self.key());
        insert(&mut headers, headers::ERROR, first_bytes(error, MAX_ERROR));
        insert_wait(&mut headers, wait);
        self.sent_on(name, headers)
    }

    /// The message, which came from a delay queue, on its way to another, for a further wait.
    pub fn delayed_on(&self, name: &str, wait: Wait) -> Outgoing {
        let mut headers = self.headers_except(is_brokers);
        insert_wait(&mut headers, wait);
        self.sent_on(name, headers)
    }

    /// The message, which came from a delay queue, on its way back to the queue it is for.
    pub fn back_to(&self, queue: Queue) -> Outgoing {
        let is_done =
            |name: &str| is_brokers(name) || [headers::DUE, headers::LEFT].contains(&name);
        self.sent_on(queue.name(), self.headers_except(is_done))
    }

    fn sent_on(&self, queue: &str, headers: FieldTable) -> Outgoing {
        Outgoing::to_queue(queue, headers, self.message_id(), self.body.clone())
    }

    /// When a delayed message is due, in milliseconds since the Unix epoch, and how long it waits
    /// on after that.
    pub fn due(&self) -> (u64, Duration) {
        let number = |name| self.header(name).and_then(|text| text.parse().ok());
        let left = number(headers::LEFT).unwrap_or(0);
        (
            number(headers::DUE).unwrap_or(0),
            Duration::from_millis(left),
        )
    }

    /// The message on its way to the dead letters, under an id of its own.
    pub fn dead_lettered(&self, queue: Queue, reason: &DeadLetterReason) -> Outgoing {
        let mut headers = self.senders_headers();
        insert(&mut headers, headers::ATTEMPTS, &self.tried().to_string());
        insert(&mut headers, headers::ORIGINAL_QUEUE, queue.name());
        insert(&mut headers, headers::ORIGINAL_KEY, &self.key());
        insert(
            &mut headers,
            headers::ERROR,
            first_bytes(&reason.error, MAX_ERROR),
        );
        insert(&mut headers, headers::KIND, reason.kind.name());
        insert(&mut headers, headers::STAGE, &reason.stage);
        insert(&mut headers, headers::DEAD_AT, &unix_millis().to_string());
        let id = Uuid::now_v7().to_string();
        Outgoing::to_queue(DEAD_LETTERS, headers, Some(id), self.body.clone())
    }

    /// The message on its way back to the queue that it came from, as its sender made it.
    pub fn replayed(&self) -> Outgoing {
        let (headers, id) = (self.senders_headers(), self.header(headers::MESSAGE_ID));
        Outgoing::to_exchange(self.key(), headers, id, self.body.clone())
    }

    /// The message as a dead letter, whether we or RabbitMQ dead-lettered it.
    pub fn dead_letter(&self) -> DeadLetter {
        let death = self.death();
        let kind = match self.header(headers::KIND).as_deref() {
            Some(kind) if kind == DeadLetterKind::RetriesExhausted.name() => {
                DeadLetterKind::RetriesExhausted
            }
            _ => DeadLetterKind::Poison,
        };
        let at = self.header(headers::DEAD_AT);
        let at = at.and_then(|text| text.parse().ok());
        DeadLetter {
            id: self.id(),
            queue: self.header(headers::ORIGINAL_QUEUE).unwrap_or_else(|| {
                let queue = death.as_ref().and_then(|death| death.queue.clone());
                queue.unwrap_or_default()
            }),
            kind,
            stage: self.header(headers::STAGE).unwrap_or_default(),
            error: self.error(death.as_ref()),
            attempts: self.attempts(),
            at: at.or(death.map(|death| death.at)).unwrap_or(0),
            envelope: self.envelope(),
        }
    }

    fn error(&self, death: Option<&Death>) -> String {
        // An error beside a death is that of an earlier attempt, unless we gave the message up.
        match (death, self.header(headers::ERROR)) {
            (_, Some(error)) if self.header(headers::KIND).is_some() => error,
            (Some(death), _) if death.reason == DELIVERY_LIMITED => format!(
                "delivered more than {DELIVERY_LIMIT} times and never settled: it ends the \
                 process that takes it, or was given back each time"
            ),
            (Some(death), _) => format!("put here by RabbitMQ: {}", death.reason),
            (None, _) => "put here by another program".to_owned(),
        }
    }

    /// The id that it has among the dead letters. One that RabbitMQ dead-lettered has the
    /// message's own id. One that another program put there has an id made of its key and body.
    pub fn id(&self) -> DeadLetterId {
        DeadLetterId(self.message_id().unwrap_or_else(|| {
            let content = [self.key().as_bytes(), &self.body].join(&0);
            Uuid::new_v5(&Uuid::NAMESPACE_OID, &content).to_string()
        }))
    }

    fn message_id(&self) -> Option<String> {
        self.properties.message_id().as_ref().map(<_>::to_string)
    }

    /// The attempts with the present one.
    pub fn tried(&self) -> u32 {
        self.attempts().saturating_add(1)
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &AMQPValue)> {
        let table = self.properties.headers().iter().flatten();
        table.map(|(name, value)| (name.as_str(), value))
    }

    fn header(&self, name: &str) -> Option<String> {
        let table = self.properties.headers().as_ref()?;
        table.inner().get(name).and_then(text)
    }

    /// The sender's headers with values of any type, as they came.
    fn senders_headers(&self) -> FieldTable {
        self.headers_except(|name| !is_senders(name))
    }

    fn headers_except(&self, leave_out: impl Fn(&str) -> bool) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in self.headers().filter(|(name, _)| !leave_out(name)) {
            table.insert(name.into(), value.clone());
        }
        table
    }

    /// Why RabbitMQ moved the message the last time.
    fn death(&self) -> Option<Death> {
        let table = self.properties.headers().as_ref()?;
        let deaths = table.inner().get("x-death")?.as_array()?.as_slice();
        let mut deaths = deaths.iter().filter_map(AMQPValue::as_field_table);
        deaths.next().map(Death::read)
    }
}

fn insert_wait(headers: &mut FieldTable, wait: Wait) {
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let due = unix_millis().saturating_add(millis(wait.now));
    insert(headers, headers::DUE, &due.to_string());
    insert(headers, headers::LEFT, &millis(wait.left).to_string());
}

/// The reason that RabbitMQ gives for a message that was delivered too often.
const DELIVERY_LIMITED: &str = "delivery_limit";

/// An entry of RabbitMQ's `x-death` header: why it moved the message once.
struct Death {
    reason: String,
    queue: Option<String>,
    key: Option<String>,
    /// Milliseconds since the Unix epoch.
    at: u64,
}

impl Death {
    fn read(table: &FieldTable) -> Self {
        let value = |name: &str| table.inner().get(name);
        let keys = value("routing-keys").and_then(AMQPValue::as_array);
        let seconds = value("time").and_then(AMQPValue::as_timestamp);
        Self {
            reason: value("reason").and_then(text).unwrap_or_default(),
            queue: value("queue").and_then(text),
            key: keys.and_then(|keys| keys.as_slice().first().and_then(text)),
            at: seconds.unwrap_or(0).saturating_mul(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::{ByteArray, FieldArray};

    use super::*;
    use crate::broker::envelope::Headers;

    fn received(headers: &[(&str, AMQPValue)]) -> Received {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        let properties = BasicProperties::default().with_headers(table);
        Received::new("image.fetched".into(), properties, b"{}".to_vec())
    }

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn headers_of_all_types_are_read_as_text_where_they_can_be() {
        let message = received(&[
            ("text", long("a")),
            ("not-utf-8", AMQPValue::LongString(vec![0xff].into())),
            ("number", AMQPValue::LongLongInt(-7)),
            ("truth", AMQPValue::Boolean(true)),
            ("list", AMQPValue::FieldArray(FieldArray::default())),
            ("bytes", AMQPValue::ByteArray(ByteArray::default())),
            ("nothing", AMQPValue::Void),
        ]);
        let expected = [
            ("text", "a"),
            ("not-utf-8", "\u{fffd}"),
            ("number", "-7"),
            ("truth", "true"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(message.envelope().headers, Headers::from(expected));
    }

    #[test]
    fn attempts_are_counted_whatever_the_headers_type() {
        let attempts = |value| received(&[(headers::ATTEMPTS, value)]).attempts();
        assert_eq!(attempts(long("3")), 3);
        assert_eq!(attempts(AMQPValue::LongLongInt(3)), 3);
        assert_eq!(attempts(AMQPValue::LongInt(-3)), 0);
        assert_eq!(attempts(long("many")), 0);
        assert_eq!(attempts(AMQPValue::Void), 0);
    }

    #[test]
    fn a_message_that_rabbitmq_dead_lettered_is_poison_of_its_last_queue() {
        let death = |queue: &str, reason: &str| {
            let mut death = FieldTable::default();
            let keys = FieldArray::from(vec![long("image.fetched")]);
            death.insert("queue".into(), long(queue));
            death.insert("reason".into(), long(reason));
            death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
            death.insert("time".into(), AMQPValue::Timestamp(5));
            AMQPValue::FieldTable(death)
        };
        let deaths = FieldArray::from(vec![
            death("validator.images", "delivery_limit"),
            death("another", "rejected"),
        ]);
        let dead_letter = received(&[
            ("x-death", AMQPValue::FieldArray(deaths)),
            (headers::ERROR, long("an earlier attempt's")),
        ])
        .dead_letter();
        assert_eq!(dead_letter.queue, "validator.images");
        assert_eq!(dead_letter.envelope.key, "image.fetched");
        assert_eq!(dead_letter.kind, DeadLetterKind::Poison);
        assert_eq!(dead_letter.at, 5000);
        assert!(
            dead_letter.error.contains("never settled"),
            "{}",
            dead_letter.error
        );
    }

    #[test]
    fn a_message_that_another_program_put_there_always_has_the_same_id() {
        let dead_letter = received(&[]).dead_letter();
        assert_eq!(dead_letter.error, "put here by another program");
        assert_eq!(dead_letter.id, received(&[]).dead_letter().id);
    }

    #[test]
    fn a_delayed_message_comes_back_as_it_was_whatever_queues_it_waits_in() {
        let again = |outgoing: Outgoing| {
            let key = outgoing.key.as_str().into();
            Received::new(key, outgoing.properties, outgoing.body.to_vec())
        };
        let sent = received(&[("mine", long("a"))]);
        let hours = Duration::from_secs(2 * 3600).into();
        let before = unix_millis();
        let delayed = again(sent.delayed("first", hours, 3, "an error"));
        let (due, left) = delayed.due();
        assert!(due >= before + 1024 * 1000 && due <= unix_millis() + 1024 * 1000);
        assert_eq!(left, Duration::from_secs(2 * 3600 - 1024));

        let on = delayed.delayed_on("second", left.into());
        assert_eq!(on.key, "second");
        let on = again(on);
        assert_eq!(on.due().1, Duration::from_secs(2 * 3600 - 2 * 1024));

        let back = on.back_to(Queue::StorerImages);
        assert_eq!(back.key, Queue::StorerImages.name());
        let back = again(back);
        assert_eq!(back.due(), (0, Duration::ZERO));
        assert_eq!(back.envelope(), sent.envelope());
        assert_eq!((back.attempts(), back.was_delayed()), (3, true));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let error = "é".repeat(MAX_ERROR);
        let retried = received(&[]).delayed("q", Duration::from_secs(1).into(), 1, &error);
        let table = retried.properties.headers().as_ref().expect("it has some");
        let kept = table
            .inner()
            .get(headers::ERROR)
            .and_then(text)
            .expect("text");
        assert!(
            kept.len() <= MAX_ERROR && error.starts_with(&kept),
            "cut in a character"
        );
        assert_eq!(
            kept.len(),
            MAX_ERROR,
            "MAX_ERROR is even, as is each character"
        );
    }
}
