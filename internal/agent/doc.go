// Package agent is the agent on a build host: its configuration, its connection to the server, and the loop that takes jobs and
// has each run in a process of its own.
//
// It only calls out, over HTTPS, also through proxies. Its key is made when it is configured and never leaves the host; tokens
// come from it and renew by themselves.
//
// Invariants:
//   - A job runs in a process of its own with a group of its own. When it crashes, the agent tells of it and goes on.
//   - What a job logs goes to a file first, and from there to the server, by offset: a connection that breaks, or a worker that dies,
//     loses nothing and doubles nothing.
//   - A claim that no longer counts ends the job; nothing more is told of it.
//   - No secret is in an argument, in a log or in an error.
//
// What a job does is not here, see agent/worker.
package agent
