//! The primitives, named explicitly: whoever asks for those of the process may get others than are expected.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::sync::{Arc, OnceLock};

/// Those of aws-lc. The hybrid group X25519MLKEM768 comes first, so that what is recorded today cannot be read by a
/// quantum computer later.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}
