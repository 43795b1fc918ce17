// Package agentapi is the server's side of the protocol that agents speak (package agent/rpc), over the pools and the queue of
// runs.
//
// Invariants:
//   - What an agent asks for is done only after its token and its proof were verified, both under the key it has now: an agent that
//     was deleted or replaced is nobody with its next call.
//   - The body of a call is the one that its proof is over; a file's is compared at its end, before anything is kept of it.
//   - A proof is taken once. Each node remembers those of the last minutes, and takes none from before it started. Calls are safe
//     to repeat, so that another node, which has not seen it, does nothing twice.
//   - The claim that a call is about is the agent's own: the queue compares.
//   - Every field has a limit, before it goes anywhere.
//
// It decides nothing about pools and runs; it translates.
package agentapi
