//! (in work)
/// A socket that belongs to no thread.
pub struct Detached;
/// TLS settings.
pub struct TlsContext;
