//! One client's conversation: what it may do now, what its server still owes, which parameters and statements
//! differ. Does not know: sockets, pools, clock. No I/O.

mod quiescent;

pub use quiescent::Quiescent;
