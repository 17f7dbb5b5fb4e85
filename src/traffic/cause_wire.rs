//! From what the HTTP/1.1 readers refuse to causes: one arm per reason, so that a new reason does not compile without a
//! cause.

use crate::Cause;
use wire::h1::{BodyError, HeadError};
use wire::secure::Failure;

impl Cause {
    /// Why a request head is refused.
    pub fn of_head(error: HeadError) -> Cause {
        match error {
            HeadError::BadRequestLine => Cause::BadRequestLine,
            HeadError::BadMethod => Cause::BadMethod,
            HeadError::ConnectNotAllowed => Cause::ConnectNotAllowed,
            HeadError::BadVersion => Cause::BadVersion,
            HeadError::UnsupportedVersion => Cause::UnsupportedVersion,
            HeadError::BadUri => Cause::BadUri,
            HeadError::UriTooLong { .. } => Cause::UriTooLong,
            HeadError::HeadTooLarge { .. } => Cause::HeadTooLarge,
            HeadError::LineTooLong { .. } => Cause::LineTooLong,
            HeadError::TooManyFields { .. } => Cause::TooManyFields,
            HeadError::BareLf => Cause::BareLf,
            HeadError::BareCr => Cause::BareCr,
            HeadError::ObsFold => Cause::ObsFold,
            HeadError::BadFieldName => Cause::BadFieldName,
            HeadError::BadFieldValue => Cause::BadFieldValue,
            HeadError::LookAlike => Cause::LookAlike,
            HeadError::BadConnectionOption => Cause::BadConnectionOption,
            HeadError::ClAndTe => Cause::ClAndTe,
            HeadError::BadCl => Cause::BadCl,
            HeadError::DuplicateCl => Cause::DuplicateCl,
            HeadError::BadTe => Cause::BadTe,
            HeadError::UnknownTe => Cause::UnknownTe,
            HeadError::TeOnHttp10 => Cause::TeOnHttp10,
            HeadError::BodyOnHttp10 => Cause::BodyOnHttp10,
            HeadError::BadHost => Cause::BadHost,
            HeadError::MissingHost => Cause::MissingHost,
            HeadError::DuplicateHost => Cause::DuplicateHost,
            HeadError::HostMismatch => Cause::HostMismatch,
            HeadError::BadExpect => Cause::BadExpect,
            // Only a reader of responses gives these.
            HeadError::BadStatusLine | HeadError::FramingIn1xx => Cause::Internal,
        }
    }

    /// Why a request body is refused.
    pub fn of_request_body(error: BodyError) -> Cause {
        match error {
            BodyError::BadChunkSize
            | BodyError::BadChunkExtension
            | BodyError::ChunkExtensionTooLong { .. }
            | BodyError::MissingChunkEnd
            | BodyError::BareLf
            | BodyError::BareCr => Cause::BadChunk,
            BodyError::BadTrailer | BodyError::TrailersTooLarge => Cause::BadTrailer,
            BodyError::TooLarge { .. } => Cause::BodyTooLarge,
            BodyError::Truncated => Cause::ClientGone,
        }
    }

    /// Why TLS with a client has failed.
    pub fn of_client_tls(failure: Failure) -> Cause {
        match failure {
            Failure::NotTls => Cause::TlsNotTls,
            Failure::Version => Cause::TlsVersion,
            Failure::NothingInCommon => Cause::TlsNothingInCommon,
            Failure::Protocol => Cause::TlsProtocol,
            Failure::UnknownName => Cause::TlsUnknownName,
            Failure::NoCertificate => Cause::ClientCertificateMissing,
            Failure::Untrusted => Cause::ClientCertificateUntrusted,
            Failure::Expired => Cause::ClientCertificateExpired,
            Failure::Revoked => Cause::ClientCertificateRevoked,
            Failure::BadCertificate | Failure::WrongName => Cause::ClientCertificateBad,
            Failure::Alert(_) => Cause::TlsAlert,
            Failure::TooLarge => Cause::TlsTooLarge,
            Failure::Flood => Cause::TlsFlood,
            Failure::BadRecord | Failure::Misbehaved => Cause::TlsViolation,
            Failure::Internal => Cause::Internal,
        }
    }

    /// Why TLS with an endpoint has failed.
    pub fn of_endpoint_tls(failure: Failure) -> Cause {
        match failure {
            Failure::NotTls => Cause::UpstreamTlsPlaintext,
            Failure::Version => Cause::UpstreamTlsVersion,
            Failure::WrongName => Cause::UpstreamTlsWrongName,
            Failure::Untrusted => Cause::UpstreamTlsUntrusted,
            Failure::Expired => Cause::UpstreamTlsExpired,
            Failure::Revoked => Cause::UpstreamTlsRevoked,
            Failure::BadCertificate | Failure::NoCertificate => Cause::UpstreamTlsBadCertificate,
            Failure::Alert(_) | Failure::UnknownName => Cause::UpstreamTlsRefused,
            Failure::NothingInCommon
            | Failure::Protocol
            | Failure::BadRecord
            | Failure::TooLarge
            | Failure::Flood
            | Failure::Misbehaved => Cause::UpstreamTlsProtocol,
            Failure::Internal => Cause::Internal,
        }
    }

    /// Why a response head is refused.
    pub fn of_response_head(error: HeadError) -> Cause {
        match error {
            HeadError::HeadTooLarge { .. }
            | HeadError::LineTooLong { .. }
            | HeadError::TooManyFields { .. } => Cause::UpstreamHeadTooLarge,
            _ => Cause::UpstreamMalformed,
        }
    }

    /// Why a response body is cut off.
    pub fn of_response_body(error: BodyError) -> Cause {
        match error {
            BodyError::Truncated => Cause::UpstreamTruncated,
            _ => Cause::UpstreamMalformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reason for which a request is refused.
    const HEAD_ERRORS: [HeadError; 29] = [
        HeadError::BadRequestLine,
        HeadError::BadMethod,
        HeadError::ConnectNotAllowed,
        HeadError::BadVersion,
        HeadError::UnsupportedVersion,
        HeadError::BadUri,
        HeadError::UriTooLong { limit_bytes: 1 },
        HeadError::HeadTooLarge { limit_bytes: 1 },
        HeadError::LineTooLong { limit_bytes: 1 },
        HeadError::TooManyFields { limit_fields: 1 },
        HeadError::BareLf,
        HeadError::BareCr,
        HeadError::ObsFold,
        HeadError::BadFieldName,
        HeadError::BadFieldValue,
        HeadError::LookAlike,
        HeadError::BadConnectionOption,
        HeadError::ClAndTe,
        HeadError::BadCl,
        HeadError::DuplicateCl,
        HeadError::BadTe,
        HeadError::UnknownTe,
        HeadError::TeOnHttp10,
        HeadError::BodyOnHttp10,
        HeadError::BadHost,
        HeadError::MissingHost,
        HeadError::DuplicateHost,
        HeadError::HostMismatch,
        HeadError::BadExpect,
    ];

    #[test]
    fn every_refused_head_has_the_cause_of_its_name_and_status() {
        for error in HEAD_ERRORS {
            let cause = Cause::of_head(error);
            assert_eq!((cause.name(), cause.status()), (error.reason(), error.status()), "{error:?}");
        }
        // The two others are reasons to refuse responses.
        assert_eq!(HEAD_ERRORS.len() + 2, HeadError::REASONS.len());
    }

    #[test]
    fn every_refused_body_is_answered_with_the_status_that_the_reader_names() {
        let errors = [
            BodyError::BadChunkSize,
            BodyError::BadChunkExtension,
            BodyError::ChunkExtensionTooLong { limit_bytes: 1 },
            BodyError::MissingChunkEnd,
            BodyError::BareLf,
            BodyError::BareCr,
            BodyError::BadTrailer,
            BodyError::TrailersTooLarge,
            BodyError::TooLarge { limit_bytes: 1 },
        ];
        for error in errors {
            assert_eq!(Cause::of_request_body(error).status(), error.status(), "{error:?}");
            assert_eq!(Cause::of_response_body(error), Cause::UpstreamMalformed);
        }
        assert_eq!(Cause::of_request_body(BodyError::Truncated), Cause::ClientGone);
        assert_eq!(Cause::of_response_body(BodyError::Truncated), Cause::UpstreamTruncated);
    }

    #[test]
    fn a_refused_response_is_the_endpoints_doing() {
        for error in HEAD_ERRORS.into_iter().chain([HeadError::BadStatusLine, HeadError::FramingIn1xx]) {
            let cause = Cause::of_response_head(error);
            assert_eq!((cause.side(), cause.status()), (crate::Side::Upstream, 502), "{error:?}");
        }
    }
}
