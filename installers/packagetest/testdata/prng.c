/* For tests under Wine 8 only: Go asks bcryptprimitives.dll for random numbers, which
   Wine 8 does not have. advapi32 has the same under its old name. */
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) { return SystemFunction036(buffer, (ULONG)length); }
