// Package page draws the report of a run as one HTML file: a verdict, figures,
// plots and tables, with everything inside it, light and dark, on any width. It
// promises that the file needs nothing else and that whatever text it is given is
// shown and never run. It knows nothing of fleets: who calls it says what to draw.
package page
