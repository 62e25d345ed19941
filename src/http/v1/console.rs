//! `/v1/console/session`: an operator's sign-in at the console.
//!
//! The cookie holds 32 random bytes, of which the store keeps a hash; a new sign-in has new ones and ends the one before.
//! Scripts never see it, and other sites' pages never send it.

pub(in crate::http) mod sign_in;
pub(in crate::http) mod sign_out;
pub(in crate::http) mod who;
