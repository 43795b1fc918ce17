// Package httpx is what every protocol of the server shares about HTTP: handlers
// that return errors, one log event and one id a request, a response writer that
// counts and keeps slow clients moving, where a request came from when proxies
// stand between, and a server with every limit set.
//
// Invariants:
//
//   - Every request is answered with an X-Request-Id made here, and logged exactly
//     once, under that id, with the keys of [Event].
//   - No secret is logged: no header is, and signatures and tokens in a query or
//     an error are struck out.
//   - A client gets the whole of a successful response or a broken connection,
//     never a part that looks complete.
//   - A stalled client is dropped: each body, in either direction, has an idle
//     deadline that only progress moves.
//   - A panic costs its request, not the process.
//
// It is not a router, and it knows nothing of principals or permissions: handlers
// write what they learn into the Event, and authorisation is in the domain.
package httpx
