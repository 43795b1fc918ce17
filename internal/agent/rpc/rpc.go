// Package rpc is what agents and the server say to each other: the messages, generated from sekisho/agent/v1/agent.proto,
// and here how a call is shown to come from an agent.
//
// An agent proves itself with every call in two ways: a token, good for 15 minutes, and a [Proof], signed by the key that it was
// enrolled with, over the call and the token. So a token that is stolen is good for nothing without the key, which never leaves
// the agent's machine; and a call that is captured can't be sent again, to the same node within its time or to any other after it.
//
// Files of artifacts travel as plain HTTP: PUT [FilesPath] with the file as the body, and GET of the same path, with the
// parameters job, attempt, artifact, name, and kind or run in the query. They carry the same two headers.
//
// A job is JSON of work.Job in a field of bytes: there is one vocabulary for the server, agents, and runs on one's own machine.
package rpc

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.71.0 generate

import "time"

// Protocol is the version of the protocol. It goes up with a change that an agent or server of before can't follow.
const Protocol = 1

// Paths.
const (
	// Prefix is what all paths of the protocol begin with.
	Prefix = "/sekisho.agent.v1."
	// FilesPath is where files are put and got.
	FilesPath = "/sekisho.agent.v1.Files/file"
)

// Headers.
const (
	// ProofHeader has the [Proof] of a call.
	ProofHeader = "Sekisho-Proof"
	// ReasonHeader goes with an error that an agent must tell from others of its code.
	ReasonHeader = "Sekisho-Reason"
	// TokenScheme is that of the Authorization header.
	TokenScheme = "Agent"
)

// Values of ReasonHeader, of errors of the code UNAUTHENTICATED.
const (
	ReasonClock   = "clock"   // the proof's time is not the server's: the answer's Date header has that
	ReasonToken   = "token"   // the token is too old, or no longer good: get another one
	ReasonUnknown = "unknown" // there is no such agent, or not under this key: enrol again
)

// Of signed requests for sts:GetCallerIdentity.
const (
	ServerHeader = "X-Sekisho-Server"
	KeyHeader    = "X-Sekisho-Key"
	IdentityBody = "Action=GetCallerIdentity&Version=2011-06-15"
)

// Limits, in bytes.
const (
	MaxLogChunk   = 256 << 10
	MaxAttachment = 8 << 20
	MaxRecords    = 4 << 20
	MaxJob        = 32 << 20
)

// MaxWait is how long the server lets an agent wait for a job: shorter than what proxies give a connection that is still.
const MaxWait = 50 * time.Second
