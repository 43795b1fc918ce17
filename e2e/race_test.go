//go:build race

package e2e

// With the detector on, the server under test is built with it too.
const raceDetector = true
