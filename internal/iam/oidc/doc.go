// Package oidc verifies identity tokens of OpenID Connect issuers that an account trusts: of GitHub, GitLab, a Kubernetes
// cluster, or any other. What a token says becomes condition keys of policies.
//
// Invariants:
//   - Nothing in a token chooses how it is verified, beyond which of the issuer's own keys: algorithms are a fixed list of
//     asymmetric ones, and keys come from the issuer that the account configured, or from the operator ([Options.Keys]).
//   - Claims are read only after the signature was verified, by their exact names.
//   - All is bounded: tokens, documents, keys, issuers, time, and how often an issuer is asked, whoever sends what.
//
// Keys are read from the issuer over TLS, verified by the system's authorities, [Options.Roots], or a thumbprint that the
// account configured. They are kept for an hour; a token under a key that is not among them has them read again, but not
// more often than every ten seconds. While an issuer can't be reached, its keys are good for six hours more.
//
// Whoever may configure providers has this process send GET requests. So it sends none but https, to the configured
// address and to the jwks_uri that is found there, follows no redirects, connects to no link-local or multicast address,
// whatever names resolve to, and to no loopback one unless [Options.Loopback] says so. Private addresses are allowed: that
// is where issuers of private networks are. What is answered there is shown to nobody.
//
// It does not know who may do what with a token: that is for the trust policy of a role to say. It is no client of OpenID
// Connect's log-in flows.
//
// Sources: OpenID Connect Core 1.0 section 3.1.3.7, Discovery 1.0 sections 3 and 4, RFC 7515, RFC 7517, RFC 7519, RFC 8725.
package oidc
