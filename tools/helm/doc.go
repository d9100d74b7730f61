// Package helm is empty: its module pins the version of the helm program, which checks and renders the charts. It is a module of its own, because
// helm brings its own versions of much that Nave uses too.
package helm
