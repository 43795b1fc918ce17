//go:build race

package soak

// With the detector on, the programs under test are built with it too.
const raceDetector = true
