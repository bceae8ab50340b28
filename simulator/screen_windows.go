package simulator

import (
	"os"

	"golang.org/x/sys/windows"
)

// isTerminal asks for the escape sequences at the same time: old consoles without
// them get lines.
func isTerminal(f *os.File) bool {
	var mode uint32
	h := windows.Handle(f.Fd())
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

func terminalWidth(f *os.File) int {
	var info windows.ConsoleScreenBufferInfo
	if windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info) != nil {
		return screenWide
	}
	return int(info.Window.Right-info.Window.Left) + 1
}
