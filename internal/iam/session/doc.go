// Package session is what the Security Token Service does: it gives out temporary credentials to those who may have them.
//
// Invariants:
//   - Who may assume a role is decided by the [iam.Judge] with the role's trust policy as the resource's own, before
//     anything else about the role has an effect on the answer: a role that is not there is refused like one that does not
//     trust the caller.
//   - A session can do no more than what it was asked for with: its session policies, tags and source identity are part of
//     it from the start and never change. What it may do is decided with every request, by the role's policies of then.
//   - A web identity is believed only after package oidc has verified it for a provider of the role's account.
//   - What was given out is recorded in the transaction that makes it.
//
// It does not keep sessions, which is package iam's, and knows no protocol.
//
// Limits and messages are those of the AWS STS API Reference. Other than at AWS, an account's root may assume a role that
// trusts it, and sessions of GetSessionToken end with the access key that asked for them.
package session
