//! What an error of librdkafka or of a broker means to those who asked.

use crate::error::{KafkaError, KafkaErrorKind};
use rdkafka::{
    bindings::{self as native, rd_kafka_error_t, rd_kafka_resp_err_t},
    types::RDKafkaErrorCode as Code,
};
use std::ffi::{CStr, c_char};

/// A text of librdkafka's; nothing for none.
pub(super) fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's texts end with a zero, and live while what they were asked of does: our callers hold that.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().trim().into()
}

/// What a code says in words.
pub(super) fn words(code: rd_kafka_resp_err_t) -> String {
    // SAFETY: any code is allowed, and the text is static.
    text(unsafe { native::rd_kafka_err2str(code) })
}

/// An error by its code, with what was being done in front. `told` is what there is to say beside the code's own words.
pub(super) fn failure(doing: &str, code: rd_kafka_resp_err_t, told: &str) -> KafkaError {
    let words = words(code);
    let words = if told.is_empty() || told == words { words } else { format!("{words} ({told})") };
    KafkaError::of(kind_of(code.into()), format!("{doing}: {words}"))
}

/// What can be done about a code, outside of transactions.
pub(super) fn kind_of(code: Code) -> KafkaErrorKind {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
            KafkaErrorKind::NotFound
        }
        Code::OffsetOutOfRange | Code::AutoOffsetReset => KafkaErrorKind::OutOfRange,
        Code::LogTruncation => KafkaErrorKind::Truncated,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => KafkaErrorKind::TooLarge,
        // An id that was idle for long is given up by the broker: another producer has to be initialised there, too.
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId => KafkaErrorKind::Fenced,
        code if is_refusal(code) => KafkaErrorKind::Refused,
        _ => KafkaErrorKind::Unavailable,
    }
}

/// Credentials, permissions, settings, and records that are damaged.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidTopic
            | Code::InvalidConfig
            | Code::InvalidArgument
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidReplicaAssignment
            | Code::InvalidRequest
            | Code::InvalidTransactionTimeout
            | Code::InvalidRequiredAcks
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::InvalidGroupId
            | Code::NonEmptyGroup
            | Code::UnknownMemberId
            | Code::PolicyViolation
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
            | Code::NotImplemented
            | Code::NotConfigured
            | Code::BadMessage
            | Code::InvalidMessage
            | Code::BadCompression
    )
}

/// The same error of something that was asked for within a transaction: what may have been done is not just unavailable.
pub(super) fn within_transaction(mut error: KafkaError) -> KafkaError {
    if matches!(error.kind, KafkaErrorKind::Unavailable | KafkaErrorKind::OutOfRange) {
        error.kind = KafkaErrorKind::Unknown;
    }
    error
}

/// An error object of librdkafka's, read and given back; none: there was no error.
pub(super) fn take_error(error: *mut rd_kafka_error_t) -> Option<(rd_kafka_resp_err_t, String)> {
    if error.is_null() {
        return None;
    }
    // SAFETY: it is not null, and ours until it is destroyed, which happens last.
    unsafe {
        let code = native::rd_kafka_error_code(error);
        let told = text(native::rd_kafka_error_string(error));
        native::rd_kafka_error_destroy(error);
        Some((code, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_by_what_can_be_done() {
        for (code, kind) in [
            (Code::BrokerTransportFailure, KafkaErrorKind::Unavailable),
            (Code::OperationTimedOut, KafkaErrorKind::Unavailable),
            (Code::CoordinatorLoadInProgress, KafkaErrorKind::Unavailable),
            (Code::UnknownTopicOrPartition, KafkaErrorKind::NotFound),
            (Code::AutoOffsetReset, KafkaErrorKind::OutOfRange),
            (Code::LogTruncation, KafkaErrorKind::Truncated),
            (Code::MessageSizeTooLarge, KafkaErrorKind::TooLarge),
            (Code::Fenced, KafkaErrorKind::Fenced),
            (Code::InvalidProducerEpoch, KafkaErrorKind::Fenced),
            (Code::SaslAuthenticationFailed, KafkaErrorKind::Refused),
            (Code::TransactionalIdAuthorizationFailed, KafkaErrorKind::Refused),
        ] {
            assert_eq!(kind_of(code), kind, "{code:?}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_unknown() {
        let doing = |kind| within_transaction(KafkaError::of(kind, "x")).kind;
        assert_eq!(doing(KafkaErrorKind::Unavailable), KafkaErrorKind::Unknown);
        assert_eq!(doing(KafkaErrorKind::Fenced), KafkaErrorKind::Fenced);
        assert_eq!(doing(KafkaErrorKind::TooLarge), KafkaErrorKind::TooLarge);
    }
}
