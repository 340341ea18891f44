// Package arch tests the shape of the module itself: floors, who may import
// which library, and the limits that keep files readable.
package arch
