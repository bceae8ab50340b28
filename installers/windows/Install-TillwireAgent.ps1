<#
.SYNOPSIS
    Installs, enrols and starts the Tillwire agent on this machine. Run again, it changes nothing.
.DESCRIPTION
    For Intune, Group Policy start scripts, SCCM, or by hand as an administrator. The token is read from a
    variable, a file or the pipeline, never from an argument: arguments stand in process lists and logs.
    Exit codes: 0 done, 1 failed, 3010 done and a restart is wanted (as msiexec says).
.EXAMPLE
    Get-Content \\server\tokens\S0042.txt | .\Install-TillwireAgent.ps1 -Msi .\tillwire-agent-1.0.0-x64.msi -Store S0042 -Aggregator https://stock.example
.EXAMPLE
    .\Install-TillwireAgent.ps1 -Msi .\tillwire-agent-1.1.0-x64.msi        # upgrade: the host is enrolled already
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string] $Msi,
    [string] $Store,
    [string] $Agent = 'server',
    [string] $Aggregator,
    [string] $TokenFile,
    [Parameter(ValueFromPipeline = $true)][string] $Token = $env:TILLWIRE_TOKEN,
    [string] $Sha256,
    [switch] $AllowUnsigned,
    [switch] $ExcludeFromDefender,
    [string] $LogFolder = (Join-Path $env:SystemRoot 'Temp')
)

begin {
    Set-StrictMode -Version 2
    $ErrorActionPreference = 'Stop'
    $data = Join-Path $env:ProgramData 'Tillwire\Agent'
    $program = Join-Path $env:ProgramFiles 'Tillwire\tillwire-agent.exe'

    function Test-Administrator {
        $me = [Security.Principal.WindowsPrincipal] [Security.Principal.WindowsIdentity]::GetCurrent()
        return $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
    }

    # What is installed is what was meant, unchanged.
    function Assert-Package {
        param([string] $Path)
        if (-not (Test-Path -LiteralPath $Path -PathType Leaf)) { throw "there is no $Path" }
        if ($Sha256) {
            $sum = (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash
            if ($sum -ne $Sha256) { throw "$Path has SHA-256 $sum, not $Sha256; fetch it again" }
        }
        $signature = Get-AuthenticodeSignature -LiteralPath $Path
        if ($signature.Status -ne 'Valid' -and -not $AllowUnsigned) {
            throw "$Path is not signed by anybody whom this machine trusts ($($signature.Status)); -AllowUnsigned takes it all the same"
        }
    }

    # A file for the installer that only the system and administrators can read.
    function New-SecretFile {
        param([string] $Text)
        $path = Join-Path $LogFolder ('tillwire-' + [Guid]::NewGuid().ToString('N'))
        $file = New-Item -ItemType File -Path $path
        $acl = New-Object Security.AccessControl.FileSecurity
        $acl.SetSecurityDescriptorSddlForm('D:P(A;;FA;;;SY)(A;;FA;;;BA)')
        Set-Acl -LiteralPath $file.FullName -AclObject $acl
        [IO.File]::WriteAllText($file.FullName, $Text)
        return $file.FullName
    }
}

process {
    $secret = $null
    try {
        if (-not (Test-Administrator)) { throw 'this takes an administrator' }
        $Msi = (Resolve-Path -LiteralPath $Msi).ProviderPath
        Assert-Package -Path $Msi
        $log = Join-Path $LogFolder 'tillwire-agent-install.log'
        $arguments = @('/i', "`"$Msi`"", '/qn', '/norestart', '/L*v', "`"$log`"")
        $enrolled = Test-Path -LiteralPath (Join-Path $data 'agent.toml')
        if (-not $enrolled) {
            if (-not $Store -or -not $Aggregator) { throw 'this host is not enrolled: -Store, -Aggregator and a token are needed' }
            if (-not $TokenFile) {
                if (-not $Token) { throw 'this host is not enrolled: pass a token by -TokenFile, the pipeline, or the variable TILLWIRE_TOKEN' }
                $secret = New-SecretFile -Text $Token
                $TokenFile = $secret
            }
            $arguments += @("STORE=`"$Store`"", "AGENT=`"$Agent`"", "AGGREGATOR=`"$Aggregator`"", "TOKENFILE=`"$TokenFile`"")
        }
        if ($ExcludeFromDefender) { Add-MpPreference -ExclusionPath $data }

        $installer = Start-Process -FilePath 'msiexec.exe' -ArgumentList $arguments -Wait -PassThru
        if ($installer.ExitCode -notin @(0, 3010)) { throw "msiexec ended with $($installer.ExitCode); $log says why" }

        $service = Get-Service -Name 'tillwire-agent'
        $service.WaitForStatus('Running', [TimeSpan]::FromSeconds(30))
        & $program status
        if ($LASTEXITCODE -ne 0) { & $program doctor; throw 'the agent is installed but does not take sales; see above' }
        exit $installer.ExitCode
    }
    catch {
        Write-Error -ErrorAction Continue -Message "Install-TillwireAgent: $($_.Exception.Message)"
        exit 1
    }
    finally {
        if ($secret) { Remove-Item -LiteralPath $secret -Force }
    }
}
