//! From what the library reports to [`Failure`].

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use wire::secure::Failure;

/// Why a connection has failed.
pub(crate) fn failure(error: &Error) -> Failure {
    match error {
        Error::InvalidMessage(message) => of_message(message),
        Error::PeerIncompatible(what) => of_incompatible(what),
        Error::InvalidCertificate(what) => of_certificate(what),
        Error::NoCertificatesPresented => Failure::NoCertificate,
        Error::NoApplicationProtocol => Failure::Protocol,
        Error::AlertReceived(alert) => Failure::Alert(u8::from(*alert)),
        Error::DecryptError => Failure::BadRecord,
        Error::PeerSentOversizedRecord => Failure::TooLarge,
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::UnsupportedNameType
        | Error::BadMaxFragmentSize => Failure::Misbehaved,
        Error::InvalidCertRevocationList(_) => Failure::BadCertificate,
        _ => Failure::Internal,
    }
}

fn of_message(error: &InvalidMessage) -> Failure {
    match error {
        // What the first bytes of a record can be wrong in.
        InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion => Failure::NotTls,
        InvalidMessage::HandshakePayloadTooLarge
        | InvalidMessage::CertificatePayloadTooLarge
        | InvalidMessage::MessageTooLarge => Failure::TooLarge,
        _ => Failure::Misbehaved,
    }
}

fn of_incompatible(error: &PeerIncompatible) -> Failure {
    match error {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => Failure::Version,
        _ => Failure::NothingInCommon,
    }
}

/// What is wrong with a certificate.
pub(crate) fn of_certificate(error: &CertificateError) -> Failure {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Failure::Expired,
        CertificateError::Revoked => Failure::Revoked,
        CertificateError::UnknownIssuer
        | CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => Failure::Untrusted,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Failure::WrongName
        }
        _ => Failure::BadCertificate,
    }
}

/// The alert of RFC 8446 §6 for what we refuse ourselves before anything is encrypted.
pub(crate) fn alert(failure: Failure) -> u8 {
    u8::from(match failure {
        Failure::UnknownName => AlertDescription::UnrecognisedName,
        _ => AlertDescription::HandshakeFailure,
    })
}
