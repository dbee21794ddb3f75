//! The documents built into the binary: every file of the folder `catalogue`.
//!
//! A test compares this table with the folder. One line for each file:
//! `file!("workflows/saga.yaml"),` or `file!("components/timer.yaml"),`.

macro_rules! file {
    ($path:literal) => {
        (concat!("catalogue/", $path), include_str!(concat!("../../../../catalogue/", $path)))
    };
}

/// Place in the repository and text of each document.
pub const FILES: &[(&str, &str)] = &[
    file!("components/AIAssistant.yaml"),
    file!("components/Security.yaml"),
    file!("components/Timer.yaml"),
    file!("workflows/AICustomerService.yaml"),
    file!("workflows/AccessReview.yaml"),
    file!("workflows/ApiCall.yaml"),
    file!("workflows/ApprovalGate.yaml"),
    file!("workflows/AuditVerify.yaml"),
    file!("workflows/BackupVerify.yaml"),
    file!("workflows/BudgetGuard.yaml"),
    file!("workflows/CircuitBreaker.yaml"),
    file!("workflows/CustomerAnalysis.yaml"),
    file!("workflows/DataExport.yaml"),
    file!("workflows/ErasureRequest.yaml"),
    file!("workflows/IncidentResponse.yaml"),
    file!("workflows/InvoiceRun.yaml"),
    file!("workflows/KeyRotation.yaml"),
    file!("workflows/Onboarding.yaml"),
    file!("workflows/PlanExecute.yaml"),
    file!("workflows/ResearchPipeline.yaml"),
    file!("workflows/Review.yaml"),
    file!("workflows/Saga.yaml"),
    file!("workflows/Schedule.yaml"),
    file!("workflows/SecuritySystem.yaml"),
    file!("workflows/SmartDoor.yaml"),
    file!("workflows/TaskRouter.yaml"),
    file!("workflows/Timer.yaml"),
];
