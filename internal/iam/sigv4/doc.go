// Package sigv4 verifies AWS Signature Version 4, in the Authorization header
// and in the query string ("presigned"), of requests whose whole body is hashed:
// every AWS service but S3.
//
// Verification has two halves, because the body has to be read in between:
// [Verifier.Parse] checks the form, the scope and the time of a signature and
// says which key is claimed; it is cheap, holds no secret, and refuses whatever
// can be refused before a body is read. [Verifier.Verify] recomputes the
// signature with that key's secret.
//
// Invariants:
//   - Whatever a handler reads is signed: the method, path, query, host and
//     body, and every X-Amz-* header. A header that decides something and is
//     not one of these must be checked by whoever reads it.
//   - Headers and parameters that the signature rests on occur once.
//   - Comparison takes constant time; errors, which clients see, hold no secret.
//
// A signature is no nonce. Within its window (15 minutes either side of its
// time; for a presigned request until X-Amz-Expires) a captured request can be
// sent again, to the same effect, by whoever captured it. AWS has the same
// property: TLS keeps requests from being captured, and the operations behind
// are safe to repeat.
//
// It does not do SigV4a, chunked (STREAMING-…) or unsigned bodies: they are
// refused by name.
//
// Source: AWS General Reference, "Create a signed AWS API request"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
package sigv4
