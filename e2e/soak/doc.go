// Package soak runs pipelines with a real server and real agents, kills them all the while, and looks at the end whether
// anything was lost, doubled or told wrongly. It has tests only: a small one among the others, the full one with
// SEKISHO_SOAK (make soak), and benchmarks of how soon a job begins and how many an agent pool gets done.
//
// Every process is one of its own: `sekisho serve`, an `agent run` for each agent, a worker for each job, the steps' programs.
// What dies, dies by SIGKILL. When is drawn from a seed and told by events of the runs, never by a clock.
package soak
