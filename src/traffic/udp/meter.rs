//! What has passed through a flow: whether it is answered, and how much may go to somebody who may not be there.

use base::Instant;
use std::num::NonZeroU32;

/// What flows may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRules {
    /// A flow is over once so many datagrams have answered each of the client's. `None`: it ends by being idle.
    pub responses: Option<NonZeroU32>,
    /// How many bytes may answer each byte of a client that has not sent anything since the first answer: its address may
    /// be forged. `None` is without bound.
    pub reply_ratio: Option<NonZeroU32>,
}

/// The books of one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Datagrams of the client.
    pub requests: u64,
    /// Datagrams to the client.
    pub responses: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// The client has sent something after it had got an answer.
    proven: bool,
    /// When the first datagram was sent that has not been answered; `None` while all are.
    asked: Option<Instant>,
}

impl Meter {
    /// Datagrams of the client are passed on. True when the client has proven with them that it receives answers.
    pub fn request(&mut self, now: Instant, datagrams: u32, bytes: u64) -> bool {
        self.requests += u64::from(datagrams);
        self.bytes_in += bytes;
        self.asked.get_or_insert(now);
        self.responses > 0 && !std::mem::replace(&mut self.proven, true)
    }

    /// Whether `bytes` of an answer may go to the client.
    pub fn may_respond(&self, rules: &FlowRules, bytes: u64) -> bool {
        let Some(ratio) = rules.reply_ratio.filter(|_| !self.proven) else { return true };
        self.bytes_out.saturating_add(bytes) <= self.bytes_in.saturating_mul(ratio.get().into())
    }

    /// Datagrams of the endpoint are passed on; returns when the first of the client's that they answer was sent.
    pub fn response(&mut self, datagrams: u32, bytes: u64) -> Option<Instant> {
        self.responses += u64::from(datagrams);
        self.bytes_out += bytes;
        self.asked.take()
    }

    /// Whether everything has been answered, so that the flow is over.
    pub fn is_over(&self, rules: &FlowRules) -> bool {
        rules.responses.is_some_and(|each| self.responses >= self.requests.saturating_mul(each.get().into()))
    }

    pub fn is_proven(&self) -> bool {
        self.proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(7);

    fn rules(responses: u32, ratio: u32) -> FlowRules {
        FlowRules { responses: NonZeroU32::new(responses), reply_ratio: NonZeroU32::new(ratio) }
    }

    #[test]
    fn a_flow_is_over_when_each_datagram_has_its_answers() {
        let (mut meter, rules) = (Meter::default(), rules(2, 0));
        meter.request(NOW, 3, 30);
        for answered in 1..=6 {
            assert!(!meter.is_over(&rules), "{answered}");
            meter.response(1, 10);
        }
        assert!(meter.is_over(&rules));
        assert!(!Meter::default().is_over(&FlowRules::default()), "without a number it never is");
    }

    #[test]
    fn an_answer_is_timed_from_the_first_datagram_that_waits() {
        let mut meter = Meter::default();
        let later = NOW + std::time::Duration::from_millis(3);
        meter.request(NOW, 1, 1);
        meter.request(later, 1, 1);
        assert_eq!(meter.response(1, 1), Some(NOW));
        assert_eq!(meter.response(1, 1), None, "nobody knows which one it answers");
        meter.request(later, 1, 1);
        assert_eq!(meter.response(1, 1), Some(later));
    }

    #[test]
    fn r160_a_client_that_never_sends_again_gets_no_more_than_the_ratio() {
        let (mut meter, rules) = (Meter::default(), rules(0, 3));
        assert!(!meter.request(NOW, 1, 100));
        assert!(meter.may_respond(&rules, 300) && !meter.may_respond(&rules, 301));
        meter.response(1, 250);
        assert!(meter.may_respond(&rules, 50) && !meter.may_respond(&rules, 51));
        assert!(meter.request(NOW, 1, 1), "it has got the answer, and so is where it says that it is");
        assert!(meter.may_respond(&rules, u64::MAX) && meter.is_proven());
        assert!(!meter.request(NOW, 1, 1), "proven once");
    }

    #[test]
    fn r160_sending_twice_before_any_answer_proves_nothing() {
        let (mut meter, rules) = (Meter::default(), rules(0, 3));
        meter.request(NOW, 1, 100);
        meter.request(NOW, 1, 100);
        assert!(!meter.is_proven());
        assert!(meter.may_respond(&rules, 600) && !meter.may_respond(&rules, 601));
    }
}
